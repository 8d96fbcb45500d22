"""Parameters of a family written down by hand, for what is built on plans."""

from __future__ import annotations

from dataclasses import replace

from mupwd.plan import ParameterPlan, Plan, make_plan
from mupwd.tracing.roles import Parameter, Role

Shape = tuple[int, ...]


def parameter(path: str, role: Role, base: Shape, target: Shape, axes: str, **facts: object) -> Parameter:
    """A parameter whose axes grow where base and target differ; `axes` holds a word per axis."""
    growing = tuple(a != b for a, b in zip(base, target, strict=True))
    made = Parameter(path, role, base, "float32", tuple(axes.split()), growing)
    return replace(made, **facts)  # pyright: ignore[reportArgumentType]


def plan_of_one(role: Role, base: Shape, target: Shape, axes: str, **options: object) -> ParameterPlan:
    """The plan of a single parameter named "w"; options are make_plan's, or a `Parameter`'s own fields."""
    facts = {k: options.pop(k) for k in list(options) if k in Parameter.__dataclass_fields__}
    made = parameter("w", role, base, target, axes, **facts)
    return make_plan({"w": made}, {"w": target}, **options)["w"]  # pyright: ignore[reportArgumentType]


def llama(
    base: int, width: int, layers: int = 2, vocabulary: int = 100
) -> tuple[dict[str, Parameter], dict[str, Shape]]:
    """The parameters of a LLaMA with fixed head_dim and kv heads, and their shapes at `width`."""
    parameters: dict[str, Parameter] = {}
    shapes: dict[str, Shape] = {}
    head_dim = 16

    def add(
        path: str, role: Role, shape, axes: str, growing: tuple[bool, ...], residual: bool = True
    ) -> None:
        parameters[path] = Parameter(
            path, role, shape(base), "float32", tuple(axes.split()), growing, residual=residual
        )
        shapes[path] = shape(width)

    add("embed/embedding", "input", lambda d: (vocabulary, d), "lookup out", (False, True), residual=False)
    for i in range(layers):
        at = f"layers/{i}"
        add(f"{at}/attention/norm/scale", "vector", lambda d: (d,), "elementwise", (True,))
        add(
            f"{at}/attention/q/kernel",
            "matrix",
            lambda d: (d, d // head_dim, head_dim),
            "in out out",
            (True, True, False),
        )
        for name in ("k", "v"):
            add(
                f"{at}/attention/{name}/kernel",
                "narrow",
                lambda d: (d, 1, head_dim),
                "in out out",
                (True, False, False),
            )
        add(
            f"{at}/attention/o/kernel",
            "matrix",
            lambda d: (d // head_dim, head_dim, d),
            "in in out",
            (True, False, True),
        )
        add(f"{at}/mlp/norm/scale", "vector", lambda d: (d,), "elementwise", (True,))
        for name in ("gate", "up"):
            add(f"{at}/mlp/{name}/kernel", "matrix", lambda d: (d, 4 * d), "in out", (True, True))
        add(f"{at}/mlp/down/kernel", "matrix", lambda d: (4 * d, d), "in out", (True, True))
    add("norm/scale", "vector", lambda d: (d,), "elementwise", (True,), residual=False)
    add("readout/kernel", "output", lambda d: (d, vocabulary), "in out", (True, False), residual=False)
    return parameters, shapes


def llama_plan(base: int, width: int, layers: int = 2, **options: object) -> Plan:
    """The plan of `llama` at a width."""
    parameters, shapes = llama(base, width, layers)
    return make_plan(parameters, shapes, base=base, width=width, **options)  # pyright: ignore[reportArgumentType]
