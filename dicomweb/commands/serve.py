"""`roentgate serve`."""

import argparse

from dicomweb.config import Config
from dicomweb.workers import serve


def run(config: Config, _: argparse.Namespace) -> int:
    """Serve until told to stop."""
    return serve(config, lambda text: print(text, flush=True))
