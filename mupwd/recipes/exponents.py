"""What a recipe consists of: powers of ratios, per quantity and role."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass

from mupwd.scalars import as_float, is_number
from mupwd.tracing.roles import Role


@dataclass(frozen=True)
class Powers:
    """A product of powers of target/base ratios.

    `m_in^m_in · m_out^m_out · L^depth · B^batch · D^tokens`, where each field is the exponent.

    Args:
      m_in: of the width ratio over the parameter's growing `in` axes.
      m_out: of the width ratio over its growing `out` (or elementwise) axes.
      depth: of the depth ratio L; counts only for parameters inside a residual branch.
      batch: of the batch size ratio B.
      tokens: of the ratio D of training tokens.

    Example:
      >>> Powers(m_in=-1.0).value(m_in=4.0)
      0.25
      >>> Powers(m_in=1.0, batch=0.5, tokens=-0.5).formula
      'm_in · B^0.5 · D^-0.5'
      >>> Powers(m_in=1.0) * Powers(m_out=-1.0)
      Powers(m_in=1.0, m_out=-1.0)
    """

    m_in: float = 0.0
    m_out: float = 0.0
    depth: float = 0.0
    batch: float = 0.0
    tokens: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            exponent = getattr(self, field.name)
            if not is_number(exponent) or not math.isfinite(as_float(exponent)):
                raise ValueError(f"the exponent {field.name}={exponent!r} is not a finite number")
            object.__setattr__(self, field.name, float(exponent))  # numpy's numbers are no JSON

    def value(
        self,
        m_in: float = 1.0,
        m_out: float = 1.0,
        depth: float = 1.0,
        batch: float = 1.0,
        tokens: float = 1.0,
    ) -> float:
        """Returns the product at the given ratios; infinite where it is too large for a float."""
        try:
            return float(
                m_in**self.m_in
                * m_out**self.m_out
                * depth**self.depth
                * batch**self.batch
                * tokens**self.tokens
            )
        except OverflowError:
            return math.inf

    @property
    def formula(self) -> str:
        """The product in symbols; "1" where every exponent is 0."""
        symbols = {"m_in": "m_in", "m_out": "m_out", "depth": "L", "batch": "B", "tokens": "D"}
        exponents = {symbols[f.name]: getattr(self, f.name) for f in dataclasses.fields(self)}
        factors = [s if e == 1 else f"{s}^{e:g}" for s, e in exponents.items() if e]
        return " · ".join(factors) or "1"

    def __mul__(self, other: Powers) -> Powers:
        fields = dataclasses.fields(self)
        return Powers(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields})

    def __repr__(self) -> str:
        # Without the zeros, which are nearly all: a recipe has fifty of these.
        exponents = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return f"Powers({', '.join(f'{name}={e!r}' for name, e in exponents.items() if e)})"


ONE = Powers()
# The roles whose decay can depend on the path: those that reach AdamW's steady state.
BY_PATTERN: tuple[Role, ...] = ("matrix", "narrow")


@dataclass(frozen=True)
class Rule:
    """What a recipe says of one role, in the forward form; `lr`, `wd` and `eps` for optimizers of Adam's family.

    Args:
      lr: factor on the learning rate.
      wd: factor on the coupled weight decay (a step decays by `lr * wd * w`); None for no decay term at all.
      eps: factor on Adam's epsilon.
      init: factor on the standard deviation of the base's initial values; None leaves the model as it is,
        its own width-dependent factors included.
      forward: factor on the product of the parameter and its input in the model's forward pass.
      gradient: how large an entry of the gradient is, relative to the base's. An optimizer whose step is proportional
        to the gradient (SGD) is given the gradient divided by it, and is then one whose steps have Adam's size.

    Example:
      >>> rule = Rule(lr=Powers(m_in=-1.0), wd=Powers(m_in=0.5))
      >>> rule.lr.value(m_in=16.0), rule.wd.value(m_in=16.0), rule.eps.formula
      (0.0625, 4.0, '1')
    """

    lr: Powers = ONE
    wd: Powers | None = ONE
    eps: Powers = ONE
    init: Powers | None = ONE
    forward: Powers = ONE
    gradient: Powers = ONE


@dataclass(frozen=True)
class Recipe:
    """A rule for each role, as pure data; `print` shows the table.

    Args:
      name: what tables and files call it.
      source: paper and table.
      matrix, narrow, input, output, wide, vector, scalar, tied, unused: the rule of each role.
      residual: factor on the output of each residual branch (its `depth` exponent is minus the alpha of the
        depth recipes).
      logits: exponent of head_dim in the scale of attention's logits, where head_dim grows; None leaves them
        as the model has them.
      one_minus_beta: factor on `1 - beta` of Adam's moments.
      decay_exponents: `(pattern, exponent)` pairs; where there are any, the `m_in` exponent of the weight
        decay of every matrix and narrow parameter comes from the one pattern that fully matches its path.

    Raises:
      ValueError: a pattern is no regular expression.

    Example:
      >>> from dataclasses import replace
      >>> from mupwd.recipes import get
      >>> linear = replace(get("mupwd").matrix, wd=Powers(m_in=1.0))
      >>> mine = replace(get("mupwd"), name="mine", matrix=linear)
      >>> mine.matrix.wd.formula
      'm_in'
    """

    name: str
    source: str
    matrix: Rule
    narrow: Rule
    input: Rule
    output: Rule
    wide: Rule
    vector: Rule
    scalar: Rule
    tied: Rule
    unused: Rule = Rule()
    residual: Powers = ONE
    logits: float | None = -1.0
    one_minus_beta: Powers = ONE
    decay_exponents: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for pattern, _ in self.decay_exponents:
            try:
                re.compile(pattern)
            except (re.error, TypeError) as error:
                raise ValueError(f"{self.name}: {pattern!r} is not a regular expression: {error}") from error

    def __str__(self) -> str:
        """The rules as a table, in the forward form."""
        columns = {"lr": "lr ×", "wd": "wd ×", "eps": "eps ×", "init": "init ×", "forward": "forward ×"}
        missing = {"wd": "none", "init": "the model's"}
        roles = [f.name for f in dataclasses.fields(self) if isinstance(getattr(self, f.name), Rule)]
        rows = [["", *columns.values()]]
        for role in roles:
            powers = {name: getattr(getattr(self, role), name) for name in columns}
            cells = {name: missing[name] if p is None else p.formula for name, p in powers.items()}
            if role in BY_PATTERN and self.decay_exponents:
                cells["wd"] = "by path"
            rows.append([role, *cells.values()])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        others = {
            "a residual branch": self.residual.formula,
            "scale of attention's logits": f"head_dim^{self.logits:g}" if self.logits else "1",
            "1 - beta": self.one_minus_beta.formula,
        }
        also = [f"{name} × {formula}" for name, formula in others.items() if formula != "1"]
        also += [f"weight decay of {pattern} × m_in^{e:g}" for pattern, e in self.decay_exponents]
        legend = "target/base: m_in, m_out width, L depth, B batch size, D tokens; in the forward form"
        return "\n".join([f"recipe {self.name}: {self.source}", legend, "", *lines, "", *also]).rstrip()

    @property
    def covers(self) -> frozenset[str]:
        """Of "depth", "batch" and "tokens" those that the recipe has a rule for.

        Example:
          >>> from mupwd.recipes import get
          >>> sorted(get("completep").covers)
          ['depth']
        """
        rules = [value for f in dataclasses.fields(self) if isinstance(value := getattr(self, f.name), Rule)]
        powers = [getattr(rule, f.name) for rule in rules for f in dataclasses.fields(Rule)]
        powers += [self.residual, self.one_minus_beta]
        return frozenset(
            axis for axis in ("depth", "batch", "tokens") if any(p and getattr(p, axis) for p in powers)
        )

    def rule(self, role: Role, path: str = "") -> Rule:
        """Returns the rule of a role, for the parameter at that path where decay exponents depend on it."""
        rule: Rule = getattr(self, role)
        if role in BY_PATTERN:
            for pattern, exponent in self.decay_exponents:
                if re.fullmatch(pattern, path):
                    return dataclasses.replace(rule, wd=dataclasses.replace(rule.wd or ONE, m_in=exponent))
        return rule
