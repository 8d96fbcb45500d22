"""A loop of one's own on several devices, and its checkpoint on others. Arguments: DIRECTORY MESH STEPS [RECIPE].

python examples/fsdp_checkpoint.py runs/a 8x1 20      # fully sharded over 8 devices; saves at its last step
python examples/fsdp_checkpoint.py runs/a 2x4 40      # goes on from step 20: data × tensor
python examples/fsdp_checkpoint.py runs/a 1x1 60      # on one device
python examples/fsdp_checkpoint.py runs/a 1x1 80 mup  # refused: that is another rule than the run was trained by

Without accelerators: XLA_FLAGS=--xla_force_host_platform_device_count=8
"""

import pathlib
import sys

import grain
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import mupwd

WIDTH, VOCABULARY, LENGTH, BATCH, SEED = 32, 32, 16, 16, 0


class Block(nnx.Module):
    def __init__(self, width, rngs):
        self.norm = nnx.RMSNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.down = nnx.Linear(width, width, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return x + self.down(jax.nn.gelu(self.up(self.norm(x))))


class Model(nnx.Module):
    def __init__(self, width, seed):
        rngs = nnx.Rngs(seed)
        self.embed = nnx.Embed(VOCABULARY, width, rngs=rngs)
        self.blocks = nnx.List([Block(width, rngs) for _ in range(2)])
        self.readout = nnx.Linear(width, VOCABULARY, use_bias=False, rngs=rngs)

    def __call__(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.readout(x)


def sequence(number):
    """Counts up, by one or two."""
    random = np.random.default_rng(number)
    return (random.integers(VOCABULARY) + random.integers(1, 3) * np.arange(LENGTH + 1)) % VOCABULARY


def spec(mesh, shape, gathered=False):
    """An array's last axis along "tensor"; the longest other axis along "data", but for what is computed with."""
    names: list[str | None] = [None] * len(shape)
    if names and shape[-1] % mesh.shape["tensor"] == 0:
        names[-1] = "tensor"
    others = [axis for axis in range(len(shape) - 1) if shape[axis] % mesh.shape["data"] == 0]
    if others and not gathered:
        names[max(others, key=lambda axis: shape[axis])] = "data"
    return NamedSharding(mesh, PartitionSpec(*names))


def train(directory, mesh_shape, steps, recipe="mupwd"):
    """Goes on from the directory's last checkpoint up to `steps`; returns the losses and the state at the end."""
    mesh = jax.make_mesh(
        mesh_shape,
        ("data", "tensor"),
        axis_types=(AxisType.Auto,) * 2,
        devices=jax.devices()[: np.prod(mesh_shape)],
    )
    family = mupwd.family(Model, base=16, inputs=(np.zeros((1, LENGTH), np.int32),))
    plan = family.plan(WIDTH, recipe=recipe)
    graph, params = nnx.split(family.init(WIDTH, seed=SEED))
    tx = optax.chain(mupwd.clip_by_global_norm(1.0, plan), mupwd.adamw(2**-6, plan, weight_decay=0.1))
    tracker = mupwd.track_spectrum(plan, k=24, every=5)
    data = grain.MapDataset.range(2**16).shuffle(SEED).map(sequence).repeat().batch(BATCH).to_iter_dataset()
    batches = iter(data)

    def start(params):
        return {"params": params, "optimizer": tx.init(params), "spectra": tracker.init(params)}

    def step(state, tokens):
        def loss(params):
            params = jax.tree.map(
                lambda w: jax.lax.with_sharding_constraint(w, spec(mesh, w.shape, True)), params
            )
            logits = nnx.merge(graph, nnx.State(params))(tokens[:, :-1])
            return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

        value, gradients = jax.value_and_grad(loss)(state["params"])
        updates, optimizer = tx.update(gradients, state["optimizer"], state["params"])
        _, spectra = tracker.update(updates, state["spectra"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        return {"params": params, "optimizer": optimizer, "spectra": spectra}, value

    # The optimizer's moments lie where their parameters do. The tracker's blocks are thin: every device has all.
    params = nnx.to_pure_dict(params)
    shapes = jax.eval_shape(start, params)
    shardings = jax.tree.map(lambda leaf: spec(mesh, leaf.shape), shapes)
    shardings["spectra"] = jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), shapes["spectra"])

    with ocp.CheckpointManager(pathlib.Path(directory).absolute()) as manager:
        done = manager.latest_step() or 0
        if done:
            saved = manager.restore(done, args=ocp.args.Composite(plan=ocp.args.JsonRestore()))
            plan.check_same(mupwd.Plan.from_json(saved["plan"]))
            like = jax.tree.map(
                lambda leaf, at: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=at), shapes, shardings
            )
            restore = {
                "state": ocp.args.StandardRestore(like),
                "data": grain.checkpoint.CheckpointRestore(batches),  # pyright: ignore[reportCallIssue]
            }
            state = manager.restore(done, args=ocp.args.Composite(**restore))["state"]
        else:
            state = jax.jit(start, out_shardings=shardings)(params)

        compiled, losses = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None)), []
        for number in range(done + 1, steps + 1):
            rows = NamedSharding(mesh, PartitionSpec("data"))
            state, value = compiled(state, jax.device_put(next(batches).astype(np.int32), rows))
            losses.append(float(value))
            print(f"step {number}  loss {value:.4f}")
        items = {
            "plan": ocp.args.JsonSave(plan.to_json()),
            "state": ocp.args.StandardSave(state),
            "data": grain.checkpoint.CheckpointSave(batches),  # pyright: ignore[reportCallIssue]
        }
        manager.save(steps, args=ocp.args.Composite(**items))
    return losses, state


if __name__ == "__main__":
    mesh_shape = tuple(int(size) for size in sys.argv[2].split("x"))
    train(sys.argv[1], mesh_shape, int(sys.argv[3]), *sys.argv[4:5])
