"""The commands of `birds`. Only Typer is imported here; each command imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tools.cli import classify, models, serve

EXAMPLE = """\
Example:
  birds serve                                    start the service; Ctrl-C stops it
  birds classify ~/photos --format csv > birds.csv

"""
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


class _FrontDoor(TyperGroup):
    """Help that begins with an example."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(EXAMPLE)
        super().format_help(ctx, formatter)


app = typer.Typer(
    name="birds",
    cls=_FrontDoor,
    help="Bird species from photos: run the service, classify images, look after model versions.",
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


app.command()(serve.serve)
app.command()(classify.classify)
app.add_typer(models.app, name="models")


@app.command(context_settings=_PASSED_ON)
def perf(context: typer.Context) -> None:
    """Load Triton with perf_analyzer. `birds perf --help` lists the options."""
    from tools.measure.perf.__main__ import main

    raise typer.Exit(main(context.args))


@app.command(context_settings=_PASSED_ON)
def soak(context: typer.Context) -> None:
    """Mix traffic and faults, and judge every answer. `birds soak --help` lists the options."""
    from tools.measure.soak.__main__ import main

    raise typer.Exit(main(context.args))


@app.command(context_settings=_PASSED_ON)
def bench(context: typer.Context) -> None:
    """Measure the service beside what it replaced. `birds bench --help` lists the options."""
    from tools.measure.bench.__main__ import main

    raise typer.Exit(main(context.args))
