"""Tune once, train wide: LLaMA proxies at several widths from one learning rate and one weight decay.

The pair below was tuned at the base width, 32. `mupwd` turns it into each width's own numbers; `sp`, the
standard parametrisation, uses it as it is. Under a rule that transfers, the wider model is the better one at
every width, with nothing tuned again. The picture shows both recipes' losses against width, and the widest
model's loss as it trains.

    pip install 'mupwd[proxy]'
    python examples/llama_widths.py                      # 3 widths, 2 recipes: a few minutes on a laptop
    python examples/llama_widths.py --widths 32 64 --steps 100 --directory /tmp/quick

A run that was interrupted goes on where it was when the command is started again.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # Writes a file; needs no screen.
import matplotlib.pyplot as plt

from mupwd.proxy import ProxyConfig, TrainConfig, Trainer, family
from mupwd.proxy.metrics_log import read_metrics, series


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[32, 64, 128], help="the first one is the base"
    )
    parser.add_argument("--recipes", nargs="+", default=["mupwd", "sp"])
    parser.add_argument("--learning_rate", type=float, default=2**-5, help="tuned at the base")
    parser.add_argument(
        "--weight_decay", type=float, default=0.1, help="tuned at the base; coupled, as in optax"
    )
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, default=Path("runs/llama_widths"))
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    base, *_, target = arguments.widths
    proxy = ProxyConfig(layers=2, head_dim=16)
    train = TrainConfig(
        steps=arguments.steps,
        warmup=arguments.steps // 10,
        batch_size=arguments.batch_size,
        eval_every=max(1, arguments.steps // 10),
        checkpoint_every=max(1, arguments.steps // 5),
    )

    # The family reads the model's own program at two widths: which parameters are matrices, which is the
    # readout, what grows. A plan is what a recipe makes of it at one width; these are the numbers to use.
    llamas = family(proxy, base=base)
    print(llamas.plan(target).table(arguments.learning_rate, arguments.weight_decay))

    losses: dict[str, list[float]] = {}
    for recipe in arguments.recipes:
        for width in arguments.widths:
            # The same pair at every width: the plan holds all that differs.
            trainer = Trainer(width, plan=llamas.plan(width, recipe=recipe), proxy=proxy, train=train)
            directory = arguments.directory / f"{recipe}_{width}"
            result = trainer.run(arguments.learning_rate, arguments.weight_decay, arguments.seed, directory)
            losses.setdefault(recipe, []).append(result["eval/loss"])
            print(
                f"{recipe:>8}  width {width:>4}  held-out loss {result['eval/loss']:.3f}  {result['status']}"
            )

    figure, (by_width, by_step) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for recipe, values in losses.items():
        by_width.plot(arguments.widths, values, marker="o", label=recipe)
        steps, evaluations = series(read_metrics(arguments.directory / f"{recipe}_{target}"), "eval/loss")
        by_step.plot(steps, evaluations, marker=".", label=recipe)
    by_width.set_xscale("log", base=2)
    by_width.set(xlabel="width", ylabel="held-out loss, nats per token", title="one tuned pair, every width")
    by_step.set(xlabel="step", title=f"width {target} as it trains")
    by_width.legend(title="recipe")
    picture = arguments.directory / "llama_widths.png"
    figure.savefig(picture, dpi=150)
    print(f"wrote {picture}")


if __name__ == "__main__":
    main()
