"""`mupwd plan`: prints what to multiply, and the numbers to use, at a target width."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mupwd.commands.models import family_of

if TYPE_CHECKING:
    from mupwd.family import Family

# What each adds to `mupwd.proxy.ProxyConfig`.
_PRESETS: dict[str, dict[str, Any]] = {
    "llama": {"head_dim": 64},
    "llama_gqa": {"head_dim": 64, "kv_groups": 4},
    "llama_fixed_kv": {"head_dim": 64, "kv_heads": 4},
    "llama_tied": {"head_dim": 64, "tied": True},
}

_EPILOG = """\
the model:
  package.module:build   build(width), or build(width, seed), returns an nnx, linen or equinox model, or a pair
                         (fn, params) with fn(params, *inputs). The current directory is searched first. Nothing
                         is computed: build runs on abstract values, so that any width fits in memory.
  --inputs               what the model is called with: shapes such as int32[2,128] (one per input), or
                         package.module:name for a tuple of arrays. Without it, `inputs` of build's module.
  --preset               instead of a model: the LLaMA proxy of mupwd (RMSNorm, RoPE, SwiGLU) with 64-wide heads:
                           llama           as many key-value heads as query heads
                           llama_gqa       a quarter as many, so that they grow with width
                           llama_fixed_kv  4 key-value heads at every width, as in LLaMA 3
                           llama_tied      one table for embedding and readout

the numbers:
  --learning_rate and --weight_decay are what was tuned at the base. A decay is coupled, as in optax.adamw and
  PyTorch's AdamW: a step decays by learning rate * decay * weight. The table has the decay of a step and its
  timescale in steps, at base and target; check that the run is longer than that.

examples:
  mupwd plan --preset llama --base 256 --width 4096 --learning_rate 3e-3 --weight_decay 0.1
  mupwd plan --base 256 --width 4096 --inputs 'int32[2,128]' my_project.model:build
  mupwd plan --base 256 --width 4096 my_project.model:build --explain layers/0/mlp/up/kernel
  mupwd plan --base 256 --width 4096 my_project.model:build --save plan.json

in code the same is
  family = mupwd.family(build, base=256, inputs=(tokens,))
  plan = family.plan(4096)
  tx = mupwd.adamw(3e-3, plan, weight_decay=0.1)
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "plan",
        help="print the learning rates and weight decays to use at a target width",
        description="Prints every parameter's role and the numbers to use at a target width.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("model", nargs="?", metavar="package.module:build", help="the model; see below")
    parser.add_argument("--preset", choices=_PRESETS, help="a model of mupwd's own instead")
    parser.add_argument(
        "--inputs", metavar="SPEC", action="append", help="see below; repeat for several inputs"
    )
    parser.add_argument("--base", type=int, required=True, metavar="N", help="the width that was tuned")
    parser.add_argument("--width", type=int, required=True, metavar="N", help="the width to train")
    parser.add_argument(
        "--delta", type=int, metavar="N", help="a second width to compare with (default: 2 × base)"
    )
    parser.add_argument("--learning_rate", type=float, metavar="X", help="tuned at the base")
    parser.add_argument("--weight_decay", type=float, metavar="X", help="tuned at the base, coupled")
    parser.add_argument(
        "--recipe", default="mupwd", help="mupwd, mup, mup_linear, sp, 'fitted(0.8)', ... (default: mupwd)"
    )
    parser.add_argument(
        "--form",
        choices=("folded", "forward"),
        help="folded: the model is untouched; forward: it multiplies by the column of that name (default: folded, "
        "but forward for a preset with a tied embedding)",
    )
    for name, what in (
        ("depth", "layers"),
        ("batch", "batch size"),
        ("token", "training tokens"),
        ("sequence", "sequence length"),
    ):
        parser.add_argument(
            f"--{name}_ratio", type=float, default=1.0, metavar="X", help=f"{what}, target / base"
        )
    parser.add_argument(
        "--explain", metavar="PATH", action="append", help="say how a parameter's numbers come about"
    )
    parser.add_argument(
        "--save", type=Path, metavar="FILE", help="write the plan as JSON for mupwd.Plan.load"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the plan."""
    if (args.model is None) == (args.preset is None):
        raise ValueError("give either a model as package.module:build or --preset")
    family = _preset(args) if args.preset else family_of(args.model, args.inputs, args.base, args.delta)
    tied = args.preset is not None and _PRESETS[args.preset].get("tied", False)
    plan = family.plan(
        args.width,
        recipe=args.recipe,
        form=args.form or ("forward" if tied else "folded"),
        depth_ratio=args.depth_ratio,
        batch_ratio=args.batch_ratio,
        token_ratio=args.token_ratio,
        sequence_ratio=args.sequence_ratio,
    )
    if args.explain:
        print("\n\n".join(plan.explain(path) for path in args.explain))
    else:
        print(plan.table(learning_rate=args.learning_rate, weight_decay=args.weight_decay))
    if args.save is not None:
        plan.save(args.save)
        print(f"\nwritten: {args.save}")
    return 0


def _preset(args: argparse.Namespace) -> Family:
    if args.inputs:
        raise ValueError("--inputs is for a model of your own; a preset has its own; leave it out")
    from mupwd import proxy

    return proxy.family(proxy.ProxyConfig(**_PRESETS[args.preset]), base=args.base, delta=args.delta)
