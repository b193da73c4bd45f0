"""Serving the explorer: its address, and the server's limits."""

import ipaddress
import socket
import stat
import sys
from importlib.util import find_spec
from pathlib import Path

from models.errors import UserError, quoted

LOOPBACK = "127.0.0.1"
SHORTEST_PASSWORD, LONGEST_PASSWORD = 8, 1024
CONNECTIONS = 200


def serve(args, device):
    """Open what the arguments of explore.py name, and serve it until Ctrl-C.

    Raises UserError if it cannot be opened, if the port is in use, or if a package is missing.
    """
    if find_spec("gradio") is None:
        raise UserError("explore.py needs Gradio, which is not installed: pip install -r requirements-explore.txt")
    password = None if args.password_file is None else read_password(args.password_file)
    with listen(args.listen or LOOPBACK, args.port) as bound:
        from lib.exploring.world import open_world

        world = open_world(args.exp, args.gan, args.corpus, args.judge, device)
        try:
            server = server_of(world, password)
            print(f"explorer: {_address(bound)}", flush=True)
            if password is not None:
                print(what_listening_means(bound), file=sys.stderr, flush=True)
            server.run(sockets=[bound])
            raise KeyboardInterrupt  # in a shell's background SIGINT ends uvicorn too, but is ignored when passed on
        finally:
            world.close()


def read_password(file):
    """The first line of a file. Raises UserError if it is not a password, or if others can read it."""
    file = Path(file)
    if not file.is_file():
        raise UserError(f"--password-file {file} is not a file: write a password into it")
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise UserError(f"others on this machine can read {file}: chmod 600 it")
    try:
        password = file.read_bytes()[: 4 * LONGEST_PASSWORD].decode().split("\n")[0].strip("\r")
    except UnicodeDecodeError:
        raise UserError(f"{file} is not text: write a password into it") from None
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UserError(f"the first line of {file} must be a password of {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} "
                        "characters")
    return password


def listen(address, port):
    """A socket that listens. Raises UserError if the port is in use, or if the address is not one of this machine."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    except ValueError:
        raise UserError(f"--listen {quoted(address)} is not an address: give one of this machine's, or 0.0.0.0 for all "
                        "of them") from None
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise UserError(f"port {port} of {address} cannot be had ({error.strerror}): another explorer may run there; "
                        "choose another one with --port") from None
    return bound


def what_listening_means(bound):
    address = _address(bound)
    return (f"{address} answers to everybody who can reach this machine and knows the password: they use its "
            "processor and memory. Nothing is encrypted: whoever sees the network's traffic sees the password and the "
            "pictures. Nothing that they do is saved here. A tunnel (ssh -L 7860:127.0.0.1:7860 HOST) does without")


def _address(bound):
    address, port = bound.getsockname()[:2]
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"


def server_of(world, password=None):
    """The uvicorn server of a `lib.exploring.world.World`; `run(sockets=[..])` serves it."""
    import uvicorn

    from lib.exploring.web.app import build_app

    return uvicorn.Server(uvicorn.Config(
        build_app(world, password), log_level="error", access_log=False, lifespan="off", ws="none", proxy_headers=False,
        server_header=False, limit_concurrency=CONNECTIONS, timeout_keep_alive=10, timeout_graceful_shutdown=2,
    ))  # fmt: skip
