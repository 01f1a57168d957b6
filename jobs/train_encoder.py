"""Train `mini` on the rendered world, or evaluate a trained one and write its card.

python jobs/train_encoder.py out/mini --steps 9000      # goes on where it was stopped; `embed.model: out/mini` uses it
python jobs/train_encoder.py out/mini --steps 5000      # the same training, finished sooner: the last steps slow down
python jobs/train_encoder.py out/next --begin-with out/mini   # goes on with the network of a model directory
python jobs/train_encoder.py out/mini --meaning-of out/next   # what makes a vector of what is seen, anew and sharper
python jobs/train_encoder.py --evaluate [DIR]           # the shipped network if no directory is named
"""

import argparse
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import torch

from shotlake.embed.mini.card import missed_bars, write_card
from shotlake.embed.mini.encoder import MINI_FOLDER
from shotlake.embed.mini.learn_meaning import MeaningPlan, train_meaning
from shotlake.embed.mini.train import Plan, train


def main() -> int:
    """0, or 1 if the evaluated network misses a bar of the card."""
    default = Plan()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where the training goes, or what is evaluated")
    parser.add_argument("--evaluate", action="store_true", help="evaluate and write CARD.md instead of training")
    parser.add_argument("--steps", type=int, default=default.steps, help=f"steps ({default.steps})")
    parser.add_argument("--text-steps", type=int, default=default.text_steps, help="of them, with captions alone")
    parser.add_argument("--begin-with", type=Path, help="model directory whose network is trained on")
    parser.add_argument(
        "--meaning-of", type=Path, help="model directory; all but its meaning rests, for steps of its own"
    )
    parser.add_argument("--seed", type=int, default=default.seed, help=f"seed ({default.seed})")
    parser.add_argument("--processes", type=int, default=default.n_processes, help="one-thread processes, a core each")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if arguments.evaluate:
        torch.set_num_threads(1)
        numbers = write_card(arguments.folder or MINI_FOLDER)
        json.dump(numbers, sys.stdout, indent=1)
        return 1 if missed_bars(numbers) else 0
    if arguments.folder is None:
        parser.error("name the folder to train into")
    if arguments.meaning_of and arguments.begin_with:
        parser.error(
            "--begin-with trains the whole network, --meaning-of only what makes vectors of its states; choose one"
        )
    if arguments.meaning_of:
        meaning = MeaningPlan(str(arguments.meaning_of), seed=arguments.seed, n_processes=arguments.processes)
        train_meaning(meaning, arguments.folder)
        return 0
    plan = Plan(arguments.steps, arguments.text_steps, seed=arguments.seed, n_processes=arguments.processes)
    if arguments.begin_with:
        plan = replace(plan, begun_with=str(arguments.begin_with), easy_steps=0)
    train(plan, arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
