"""Take films from modalities and PACS, have them screened by the service, send the results on.

    python -m dicom_node

All settings are environment variables, see `dicom_node/settings.py`. Ends with 0 after Ctrl-C or SIGTERM, 2 for a bad
setting. What waits in the queue goes on at the next start.
"""

import argparse
import asyncio
import logging
import signal
import sys
import warnings

from aiohttp import web

from dicom_node.errors import SettingsError
from dicom_node.node import STOP_TIMEOUT_S, Node, sole_owner
from dicom_node.service import Service
from dicom_node.settings import Settings
from dicom_node.stow import KEEP_ALIVE_S, create_app


def main() -> int:
    """Run the command; return its exit status."""
    quiet_libraries()
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.INFO)
    argparse.ArgumentParser(
        prog="python -m dicom_node", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    try:
        settings = Settings.from_environ()
        require_operating_point(settings)
        with sole_owner(settings.queue_dir):
            node = Node(settings)
            try:
                asyncio.run(serve(settings, node))
            finally:
                node.stop()
    except SettingsError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    except KeyboardInterrupt:  # before it was ready
        return 0
    return 0


def require_operating_point(settings: Settings) -> None:
    """Ask the service for the operating point of the settings; where it does not answer, films will show it.

    Raises:
        SettingsError: It has no such one.
    """
    if settings.operating_point is None:
        return
    service = Service(settings)
    try:
        known = service.operating_points()
    finally:
        service.close()
    if known is None:
        logging.warning("the service at %s does not say which operating points it has", settings.service_url)
    elif settings.operating_point not in known:
        raise SettingsError(
            f"DICOM_OPERATING_POINT={settings.operating_point!r} is none of the service's: {', '.join(known)}"
        )


def quiet_libraries() -> None:
    """Have the libraries log nothing: what they say of a data set may have its values in it."""
    for name in ("pydicom", "pynetdicom", "highdicom", "aiohttp", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore")


async def serve(settings: Settings, node: Node) -> None:
    """Take STOW-RS where it is wanted, until SIGTERM, SIGINT or SIGHUP.

    Raises:
        SettingsError: Its port cannot be bound.
    """
    stop = asyncio.Event()

    def end() -> None:
        node.wind_down()  # nothing is begun while senders are waited for
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # started by nohup: meant to outlive its terminal
            asyncio.get_running_loop().add_signal_handler(number, end)
    if settings.stow_port is None:
        _greet(settings)
        await stop.wait()
        return
    runner = web.AppRunner(
        create_app(settings, node.take),
        access_log=None,
        keepalive_timeout=KEEP_ALIVE_S,
        shutdown_timeout=STOP_TIMEOUT_S,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.stow_port).start()
        except OSError as exc:
            raise SettingsError(f"DICOM_STOW_PORT={settings.stow_port} cannot be used: {exc.strerror}") from exc
        _greet(settings)
        await stop.wait()
    finally:
        await runner.cleanup()


def _greet(settings: Settings) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    sys.stdout.write(f"Ready: {settings.ae_title}@{host}:{settings.port}, results to ")
    sys.stdout.write(", ".join(address.name for address in settings.destinations) + "\n")
    if settings.stow_port is not None:
        sys.stdout.write(f"STOW-RS: http://{host}:{settings.stow_port}/studies\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
