"""lb: configurations of load balancers, made from the cluster's own."""

from __future__ import annotations

import click

from haagent.cli.invocation import CONFIG, Invocation
from haagent.cli.outcome import USAGE, Failure


@click.group()
def lb() -> None:
    """Print a load balancer's configuration for this cluster."""


@lb.command()
@click.option("--app-port", type=click.IntRange(1, 65535), required=True, help="Where the application answers.")
@click.option("--bind", default=":80", show_default=True, metavar="[ADDRESS]:PORT", help="Where clients come.")
@click.option("--cookie", default="HANODE", show_default=True, help="Keeps a client with its node; '' for none.")
@click.option("--config", "file", type=click.Path(), default=CONFIG, show_default=True, help="The cluster's.")
@click.pass_obj
def haproxy(invocation: Invocation, /, app_port: int, bind: str, cookie: str, file: str) -> None:
    """Print a configuration of HAProxy, ready to run.

    Each node gets clients while its agent is well. The cookie that keeps a client with its node is HAProxy's own.
    """
    from haagent.config import check
    from haagent.web.haproxy import CannotBalance, written

    try:
        text = written(check(file), app_port=app_port, bind=bind, cookie=cookie)
    except CannotBalance as error:
        raise Failure(str(error), status=USAGE) from error
    invocation.tell({"haproxy": text}, text.rstrip("\n"))
