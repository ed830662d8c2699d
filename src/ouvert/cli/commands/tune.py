"""`ouvert tune`: teach the weights that are served, from examples."""

import argparse
from collections.abc import Callable

SUMMARY = "Teach a model from examples, and look at what it would learn."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from ouvert.cli import tuning_check

    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    check = actions.add_parser("check", help=tuning_check.HELP)
    tuning_check.add_arguments(check)
    check.set_defaults(act=tuning_check.run)


def run(args: argparse.Namespace) -> int:
    """0: done."""
    act: Callable[[argparse.Namespace], int] = args.act
    return act(args)
