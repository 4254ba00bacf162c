"""The commands of `birds`. Only Typer is imported here; each command imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tools.cli import classify, evaluate, measure, models, serve

EXAMPLE = """\
Example:
  birds serve                                     run the service until Ctrl-C
  birds classify ~/photos --format csv > birds.csv

"""


class _FrontDoor(TyperGroup):
    """Help that begins with an example."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(EXAMPLE)
        super().format_help(ctx, formatter)


app = typer.Typer(
    name="birds",
    cls=_FrontDoor,
    help="Bird species from photos: run the service, classify images, manage model versions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from frontend import VERSION

        typer.echo(f"birds {VERSION}")
        raise typer.Exit()


@app.callback()
def front_door(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command(short_help="Run the service until Ctrl-C.")(serve.serve)
app.command(short_help="Name the birds in photos.")(classify.classify)
app.add_typer(models.app, name="models", short_help="List, build, publish, roll back, retire versions.")
app.command(short_help="Measure a version on labelled photos.")(evaluate.evaluate)
app.command(short_help="Compare the service with the design it replaced.")(measure.bench)
app.command(short_help="Load Triton with perf_analyzer.")(measure.perf)
app.command(short_help="Test the service under traffic and faults.")(measure.soak)
