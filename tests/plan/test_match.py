"""What a target may differ in from its family, and what each misfit says."""

from dataclasses import replace

import pytest
from helpers.parameters import Shape, llama, parameter

from mupwd.plan import PlanError, make_plan
from mupwd.plan.layers import starred
from mupwd.tracing.roles import Parameter


def refused(parameters: dict[str, Parameter], shapes: dict[str, Shape], message: str, **options) -> str:
    with pytest.raises(PlanError, match=message) as error:
        make_plan(parameters, shapes, **options)
    return str(error.value)


def test_an_axis_that_does_not_grow_names_parameter_axis_and_sizes():
    parameters, shapes = llama(64, 256)
    shapes["embed/embedding"] = (32000, 256)
    message = refused(
        parameters, shapes, r"embed/embedding, axis 0 \(lookup\): 100 at base and 32000 at the target"
    )
    assert "Another vocabulary (or number of classes)" in message


def test_a_table_of_positions_follows_the_stated_sequence_length():
    positions = parameter("positions", "input", (128, 64), (128, 256), "lookup out")
    parameters = {"positions": positions}
    message = refused(
        parameters, {"positions": (512, 256)}, r"positions, axis 0 \(lookup\): 128 at base and 512"
    )
    assert "If these are positions, not tokens, give sequence_ratio=4" in message
    plan = make_plan(parameters, {"positions": (512, 256)}, sequence_ratio=4.0)
    assert plan["positions"].m_out == 4
    refused(parameters, {"positions": (512, 256)}, "128 at base and 512", sequence_ratio=2.0)


def test_another_head_count_is_refused():
    parameters, shapes = llama(64, 256)
    shapes["layers/1/attention/k/kernel"] = (256, 4, 16)
    refused(parameters, shapes, r"layers/1/attention/k/kernel, axis 1 \(out\): 1 at base and 4")


def test_another_rank():
    parameters, shapes = llama(64, 256)
    shapes["layers/0/attention/q/kernel"] = (256, 256)
    refused(parameters, shapes, r"q/kernel has 3 axes at base \(64, 4, 16\) and 2 at the target \(256, 256\)")


def test_parameters_missing_on_either_side():
    parameters, shapes = llama(64, 256)
    less = {path: shape for path, shape in shapes.items() if path != "norm/scale"}
    refused(parameters, less, r"1 parameter\(s\) of the family are missing at the target: norm/scale")
    more = {**shapes, "head/bias": (100,)}
    refused(parameters, more, r"1 parameter\(s\) of the target are not in the family: head/bias")


def test_of_many_that_are_too_many_three_are_named():
    parameters, shapes = llama(64, 256)
    for count, named in ((3, "head/0, head/1, head/2; "), (4, "head/0, head/1, head/2 and 1 more; ")):
        more = {**shapes, **{f"head/{i}": (100,) for i in range(count)}}
        refused(parameters, more, rf"{count} parameter\(s\) of the target are not in the family: {named}")


def test_empty_axes_are_refused():
    parameters, shapes = llama(64, 256)
    shapes["norm/scale"] = (0,)
    refused(parameters, shapes, r"norm/scale has 0 elements along axis 0")


class TestLayersByIndex:
    base = llama(64, 64, layers=2)[0]

    def target(self, layers: int) -> dict[str, Shape]:
        return llama(64, 256, layers)[1]

    def test_new_layers_follow_the_bases(self):
        plan = make_plan(self.base, self.target(6), depth_ratio=3.0)
        assert list(plan) == list(self.target(6))
        p = plan["layers/5/mlp/up/kernel"]
        assert (p.path, p.lr, p.base_shape, p.shape) == (
            "layers/5/mlp/up/kernel",
            0.25,
            (64, 256),
            (256, 1024),
        )

    def test_fewer_layers(self):
        assert len(make_plan(self.base, self.target(1), depth_ratio=0.5)) == len(self.target(1))

    def test_depth_must_be_stated(self):
        message = refused(self.base, self.target(6), r"layers/\*: 2 layers \(or copies\) at base and 6")
        assert "give depth_ratio=3" in message

    def test_depth_must_be_what_the_names_say(self):
        refused(self.base, self.target(6), r"a ratio of 3, but depth_ratio=2", depth_ratio=2.0)

    def test_a_stated_depth_must_be_there(self):
        message = refused(
            self.base, self.target(2), r"depth_ratio=3, but the target has as many layers", depth_ratio=3.0
        )
        assert "leave depth_ratio out" in message

    def test_new_layers_must_have_a_layer_to_follow(self):
        shapes = {**self.target(4), "layers/3/moe/kernel": (256, 256)}
        refused(self.base, shapes, "not in the family: layers/3/moe/kernel", depth_ratio=2.0)

    def test_the_bases_layers_must_take_the_same_factors(self):
        path = "layers/1/mlp/up/kernel"
        parameters = {**self.base, path: replace(self.base[path], folds=("residual branch",))}
        refused(parameters, self.target(4), "the base's layers differ: folds is", depth_ratio=2.0)

    def test_the_bases_layers_must_agree(self):
        parameters = dict(self.base)
        path = "layers/1/mlp/up/kernel"
        parameters[path] = replace(parameters[path], shape=(64, 512))
        shapes = self.target(4) | {f"layers/{i}/mlp/up/kernel": (256, 2048) for i in (1, 3)}
        message = refused(parameters, shapes, "the base's layers differ", depth_ratio=2.0)
        assert (
            "shape is (64, 256) in layers/0/mlp/up/kernel and (64, 512) in layers/1/mlp/up/kernel" in message
        )

    def test_layers_of_every_second_kind(self):
        def tree(width: int, layers: int) -> dict[str, Shape]:
            return {f"layers/{i}/{'moe' if i % 2 else 'mlp'}/w": (width, width) for i in range(layers)}

        base = {p: parameter(p, "matrix", s, (8, 8), "in out") for p, s in tree(4, 4).items()}
        assert len(make_plan(base, tree(8, 8), depth_ratio=2.0)) == 8

    def test_numbers_that_are_no_layers_stay(self):
        base = {
            f"layers/{i}/w{k}": parameter(f"layers/{i}/w{k}", "matrix", (4, 4), (8, 8), "in out")
            for i in range(2)
            for k in (1, 2)
        }
        shapes = {f"layers/{i}/w{k}": (8, 8) for i in range(4) for k in (1, 2)}
        plan = make_plan(base, shapes, depth_ratio=2.0)
        assert plan["layers/3/w2"].lr == 0.5
        refused(base, {**shapes, "layers/0/w3": (8, 8)}, r"layers/0/w\*: 2 layers .* and 3", depth_ratio=2.0)

    def test_haikus_first_layer_has_no_number(self):
        def tree(layers: int) -> list[str]:
            return ["net%2Fblock%2Flinear/w"] + [f"net%2Fblock_{i}%2Flinear/w" for i in range(1, layers)]

        base = {p: parameter(p, "matrix", (4, 4), (8, 8), "in out") for p in tree(2)}
        plan = make_plan(base, dict.fromkeys(tree(6), (8, 8)), depth_ratio=3.0)
        assert list(plan) == tree(6)

    def test_a_block_that_is_looped_over_shows_no_depth(self):
        block = {
            "block/qkv": parameter(
                "block/qkv", "matrix", (3, 4, 4), (3, 8, 8), "stack in out", residual=True
            ),
            "block/norm": parameter("block/norm", "vector", (4,), (8,), "elementwise", residual=True),
        }
        shapes = {"block/qkv": (3, 8, 8), "block/norm": (8,)}
        plan = make_plan(block, shapes, recipe="completep", depth_ratio=4.0)
        assert plan["block/qkv"].eps == 1 / 2 / 4


def stack_of_layers() -> dict[str, Parameter]:
    axes, growing = ("stack", "in", "out"), (False, True, True)
    up = Parameter("layers/up", "matrix", (2, 64, 64), "float32", axes, growing, residual=True)
    return {"layers/up": up}


class TestStackedLayers:
    def test_the_stack_may_be_deeper(self):
        plan = make_plan(stack_of_layers(), {"layers/up": (6, 256, 256)}, depth_ratio=3.0)
        assert (plan["layers/up"].m_in, plan["layers/up"].shape) == (4, (6, 256, 256))

    def test_depth_must_be_stated(self):
        refused(
            stack_of_layers(),
            {"layers/up": (6, 256, 256)},
            r"layers/up, axis 0: 2 layers .* give depth_ratio=3",
        )

    def test_depth_must_be_what_the_shapes_say(self):
        refused(
            stack_of_layers(),
            {"layers/up": (6, 256, 256)},
            "a ratio of 3, but depth_ratio=2",
            depth_ratio=2.0,
        )

    def test_a_stated_depth_must_be_there(self):
        refused(
            stack_of_layers(),
            {"layers/up": (2, 256, 256)},
            "as many layers as the base",
            depth_ratio=2.0,
        )


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("layers/12/mlp/up/kernel", "layers/*/mlp/up/kernel"),
        ("stage_0/block_3/w", "stage_*/block_*/w"),
        ("layer7/w1", "layer*/w1"),
        ("net%2Fblock_1%2Flinear/w", "net%2Fblock_*%2Flinear/w"),
        ("a%25b/w", "a%25b/w"),
    ],
)
def test_layer_indices_are_starred(path, name):
    assert starred(path) == name
