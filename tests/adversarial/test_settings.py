"""What settings of the process must not change."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mupwd

# A model's whole way: roles, plan, files, training, singular values, a coordinate check. Its own code keeps to the
# strictest settings, so that whatever fails is ours.
SCENARIO = """
import json, sys
import jax, jax.numpy as jnp, optax
import mupwd

def build(width, seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    def draw(key, *shape):
        return jax.random.normal(key, shape, "float32")
    params = {
        "embed": draw(keys[0], 16, width),
        "gain": jnp.ones(width, "float32"),
        "hidden": width**-0.5 * draw(keys[1], width, width),
        "readout": width**-0.5 * draw(keys[2], width, 16),
    }
    def fn(params, tokens):
        x = params["embed"][tokens] * params["gain"][None, None]
        return jnp.tanh(x @ params["hidden"]) @ params["readout"]
    return fn, params

def loss(outputs, targets):
    return jnp.mean(jnp.square(outputs - targets))

tokens, targets = jnp.arange(6, dtype="int32").reshape(2, 3), jnp.ones((2, 3, 16), "float32")
family = mupwd.family(build, base=8, inputs=(tokens,))
plan = family.plan(16)
plan.save("plan.json")
family.save("family.json")
if mupwd.Plan.load("plan.json") != plan:
    sys.exit("the plan changed on its way")
params = family.init(16, seed=0)
if mupwd.Family.load("family.json").plan(params) != plan:
    sys.exit("the family changed on its way")

fn, _ = build(16)
tx = optax.chain(
    mupwd.track_spectrum(plan, k=2, every=1),
    mupwd.adamw(optax.cosine_decay_schedule(1e-2, 10), plan, weight_decay=0.1),
)

@jax.jit
def step(params, state):
    grads = jax.grad(lambda params: loss(fn(params, tokens), targets))(params)
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state

state = tx.init(params)
for _ in range(2):
    params, state = step(params, state)
check = mupwd.coordinate_check(
    family, (tokens, targets), loss, learning_rate=1e-3, widths=(8, 16, 32), seeds=1, steps=1
)
print(json.dumps({
    "plan": plan.table(learning_rate=1e-2, weight_decay=0.1),
    "why": plan.explain("hidden"),
    "dtypes": sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params)}),
    "loss": [float(loss(fn(params, tokens), targets))],
    "sigma": [float(state[0].observations["hidden"].sigma[0])],
    "sums": [float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(params)],
    "verdict": check.verdict,
}))
"""
SETTINGS = {
    "wide numbers": {"JAX_ENABLE_X64": "1"},
    "strict, and elsewhere": {
        "JAX_DEBUG_NANS": "1",
        "JAX_DEBUG_INFS": "1",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
        "PYTHONOPTIMIZE": "2",
        "PYTHONWARNINGS": "error",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "TZ": "Pacific/Chatham",
        "HOME": "/nowhere",
        "COLUMNS": "20",
    },
}


def scenario(directory, **settings):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", SCENARIO],
        cwd=directory,
        env=plain | {"JAX_PLATFORMS": "cpu"} | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory):
    return scenario(tmp_path_factory.mktemp("ordinary"))


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_found_and_done_is_the_same(tmp_path, ordinary, name):
    check_same(scenario(tmp_path, **SETTINGS[name]), ordinary)


@pytest.mark.slow  # half a minute
def test_one_operation_at_a_time(tmp_path, ordinary):
    check_same(scenario(tmp_path, JAX_DISABLE_JIT="1"), ordinary)


def check_same(found, ordinary):
    for what, value in ordinary.items():
        if isinstance(value[0], float):
            # Sums in another order; on a CPU the precision of products is what it always is.
            assert found[what] == pytest.approx(value, rel=1e-5), what
        else:
            assert found[what] == value, what


def test_asserts_only_tell_the_type_checker():
    """`python -O` takes them away: none may check anything that a user can bring about."""
    checks = []
    for file in Path(mupwd.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assert):
                what = ast.unparse(node.test)
                if node.msg is not None or not what.endswith(" is not None"):
                    checks.append(f"{file.name}:{node.lineno}: {what}")
    assert not checks
