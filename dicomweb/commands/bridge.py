"""`roentgate bridge`, and what the settings mean to the bridge."""

import argparse

from bridge.association import Limits
from bridge.launch import serve
from bridge.policy import Rules
from bridge.server import Bridge, Settings
from dicomweb.config import Config
from dicomweb.launch import begin_log


def run(config: Config, _: argparse.Namespace) -> int:
    """Serve until told to stop."""
    begin_log(config)
    return serve(settings_of(config), lambda bridge: print(_greeting(config, bridge), flush=True))


def settings_of(config: Config) -> Settings:
    """Return the bridge's settings, which knows no Config."""
    return Settings(
        dicomweb=config.dicomweb,
        data=config.data / "bridge",
        ledger=config.ledger,
        attempts=config.job_attempts,
        job_hours=config.job_hours,
        kept_days=config.job_days,
        nodes_file=config.data / "nodes.toml",
        host=config.dimse_host,
        port=config.dimse_port,
        tls_port=config.dimse_tls_port,
        tls_cert=config.dimse_tls_cert,
        tls_key=config.dimse_tls_key,
        tls_client_ca=config.dimse_tls_client_ca,
        rules=Rules(
            aet=config.aet,
            unknown=config.unknown_aets,
            check_called=config.check_called_aet,
            private=config.private_sop_classes,
        ),
        limits=Limits(
            request_seconds=config.dimse_request_seconds,
            idle_seconds=config.dimse_idle_seconds,
            pdu_seconds=config.dimse_pdu_seconds,
            answer_seconds=config.dimse_answer_seconds,
            pdu_bytes=config.dimse_pdu_bytes,
            message_bytes=config.dimse_message_bytes,
        ),
        associations=config.dimse_associations,
        associations_per_peer=config.dimse_associations_per_peer,
        held_bytes=config.dimse_held_bytes,
        strict=config.find_strict,
        spool=config.spool,
        spool_bytes=config.spool_bytes,
        patience_seconds=config.spool_commitment_seconds,
        free_bytes=config.limit_free_bytes,
        graceful_seconds=config.graceful_seconds,
        connect_seconds=config.dicomweb_connect_seconds,
        read_seconds=config.dicomweb_read_seconds,
        ca=config.dicomweb_ca,
        face_url=config.bridge_url,
        face_host=config.bridge_host,
        health_host=config.health_host,
        health_port=config.health_port,
        logged=config.log_requests,
        token=config.bridge_token,
    )


def addresses(config: Config, port: int, tls_port: int) -> list[str]:
    """The lines of a greeting that say where DIMSE is spoken."""
    host = f"[{config.dimse_host}]" if ":" in config.dimse_host else config.dimse_host
    lines = [f"  DIMSE      {config.aet}@{host}:{port}"]
    return [*lines, f"  DIMSE TLS  {config.aet}@{host}:{tls_port}"] if tls_port else lines


def _greeting(config: Config, bridge: Bridge) -> str:
    from importlib.metadata import version

    return "\n".join(
        [
            f"Roentgate bridge {version('roentgate')}",
            *addresses(config, bridge.port, bridge.tls_port),
            f"  serves     {bridge.origin.url}",
            f"  try        echoscu -aec {config.aet} {config.dimse_host} {bridge.port}",
            "Ctrl-C stops it.",
        ]
    )
