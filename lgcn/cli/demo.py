"""``lgcn demo``: a local web page to try a detector."""

import argparse
import socket
import threading

EPILOG = """\
examples:
  lgcn demo
      opens a page in the browser: add a photo or use the webcam, click a
      landmark to see which others influence it, and paint over a part of the face
  lgcn demo --model runs/my_run/version_0/model --port 8000
      with a model of your own, at http://127.0.0.1:8000
  lgcn demo --host 0.0.0.0 --no-browser
      also for other machines of the network

Photos stay on this machine, and nothing is sent elsewhere, unless --share is
given. Ctrl-C ends it."""

FIRST_PORT, NUM_PORTS = 7860, 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; nothing slow is imported for ``--help``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "--model",
        default="lgcn-68",
        help="shipped name, folder, .ckpt of lgcn fit, .onnx of lgcn export or hub id (default: lgcn-68)",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, ... (default: cpu)")
    parser.add_argument(
        "--port",
        type=int,
        metavar="N",
        help=f"port of the page (default: the first free one from {FIRST_PORT})",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to serve at; 0.0.0.0 lets other machines in (default: 127.0.0.1, this machine alone)",
    )
    parser.add_argument(
        "--share",
        action="store_true",
        help="also make a public link, through Gradio's servers: whoever has it can use the page",
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C or a signal."""
    from lgcn.cli.messages import short_warnings
    from lgcn.cli.stopping import stoppable
    from lgcn.demo import create_page, import_gradio, launch_page
    from lgcn.predict import LandmarkPredictor, WholeImage

    import_gradio()
    port = find_port(args.host, args.port)
    predictor = LandmarkPredictor.from_pretrained(args.model, device=args.device)
    if predictor.detector.scheme.subject != "face":
        predictor = LandmarkPredictor(predictor.detector, WholeImage())
    page = create_page(predictor)
    try:
        with stoppable(), short_warnings():
            address = launch_page(page, args.host, port, share=args.share, browser=not args.no_browser)
            print(f"The page is at {address} (Ctrl-C ends it).", flush=True)
            threading.Event().wait()
    finally:
        page.close(verbose=False)
    return 0


def find_port(host: str, port: int | None) -> int:
    """``port`` if it is free, or the first free one from :data:`FIRST_PORT` if it is None.

    Raises:
        InputError: if there is none, or ``host`` is not an IPv4 address or name of this machine.
    """
    from lgcn.checks import InputError

    if port is not None and not 1 <= port <= 65535:
        raise InputError(f"Expected '--port' to be in 1 to 65535 (got {port}).")
    try:
        # Any port: whether the address can be served at.
        with socket.socket() as server:
            server.bind((host, 0))
    except OSError as error:
        raise InputError(
            f"Expected '--host' to be an IPv4 address or name of this machine (got '{host}': {error})."
        ) from error
    reason: OSError | None = None
    for candidate in range(FIRST_PORT, FIRST_PORT + NUM_PORTS) if port is None else [port]:
        try:
            with socket.socket() as server:
                # As servers do it: a port whose last connections are closing is free.
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind((host, candidate))
            return candidate
        except OSError as error:
            reason = error
    wanted = f"{FIRST_PORT} to {FIRST_PORT + NUM_PORTS - 1}" if port is None else port
    raise InputError(f"Expected '--port' to be free (got {wanted}: {reason}). Give another with '--port'.") from reason
