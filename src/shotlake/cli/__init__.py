"""The command line: words in, one function of flow, query or report called, data to stdout, an exit status out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import cast

import typer

from shotlake.cli import ahead, ask, evaluate, index, job, lake
from shotlake.errors import ShotlakeError
from shotlake.terminal import say

app = typer.Typer(
    help="Turn an archive of video into searchable vectors in Delta Lake, exactly once, at a measured cost.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for part in (ahead, job, ask, lake):
    app.add_typer(part.app)
app.add_typer(evaluate.app, name="eval")
app.add_typer(index.app, name="index")

# typer carries a click of its own, of which it exports the leaves only
_click_exception = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
WrongWords = cast("type[typer.BadParameter]", _click_exception)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit status. Errors are one sentence on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return int(app(arguments, standalone_mode=False, prog_name="shotlake") or 0)
    except ShotlakeError as error:
        print(f"shotlake: {error.message}", file=sys.stderr)
        return error.exit_status
    except WrongWords as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            say(error.format_message())
        else:
            print(f"shotlake: {error.format_message()} See --help.", file=sys.stderr)
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 0
