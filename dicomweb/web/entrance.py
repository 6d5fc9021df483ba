"""Who may come in, as the settings say: keys, certificates, the tokens of an issuer, people who sign in.

It is loaded where access control is on, and only there: others need not wait for what reads tokens.
"""

import time
from dataclasses import dataclass

from dicomweb.access.issuer import Issuer, is_safe
from dicomweb.access.tokens import ALGORITHMS, Claims, Tokens, read_meanings
from dicomweb.archive.archive import Archive
from dicomweb.config import Config
from dicomweb.errors import BadSetting
from dicomweb.web.access import Door
from dicomweb.web.addresses import Addresses
from dicomweb.web.bridge import Bridge
from dicomweb.web.session import Login


@dataclass(frozen=True, slots=True)
class Entrance:
    """What access control consists of: the door, how people sign in, and the issuer of tokens if there is one."""

    door: Door
    login: Login
    issuer: Issuer | None

    def close(self) -> None:
        """Let go of connections to the issuer."""
        if self.issuer is not None:
            self.issuer.close()


def open_entrance(config: Config, archive: Archive, bridge: Bridge, addresses: Addresses) -> Entrance:
    """Make what the settings ask for.

    Raises:
        BadSetting: an algorithm, a role or an address is none that is safe.
    """
    issuer = None
    if config.oidc_issuer:
        issuer = Issuer(config.oidc_issuer, config.oidc_jwks_url, config.oidc_ca, config.oidc_keys_seconds)
    door = Door(
        archive,
        bridge,
        addresses,
        None if issuer is None else Tokens(_claims_of(config), issuer, time.time),
        read_meanings(config.tls_clients),
        remember_seconds=config.access_remember_seconds,
        failures=config.access_failures,
        pass_seconds=config.session_hours * 3600,
        origins=config.cors_origins,
    )
    login = Login(
        door,
        issuer if config.oidc_client_id else None,
        config.oidc_client_id,
        config.oidc_client_secret,
        config.oidc_scopes,
        config.session_hours * 3600,
    )
    return Entrance(door, login, issuer)


def _claims_of(config: Config) -> Claims:
    """What the settings expect of tokens.

    Raises:
        BadSetting: an algorithm, a role or an address is none that is safe.
    """
    if not config.oidc_algorithms or not set(config.oidc_algorithms) <= set(ALGORITHMS):
        raise BadSetting(f"oidc_algorithms are some of {', '.join(ALGORITHMS)}; no others are safe.")
    for name in ("oidc_issuer", "oidc_jwks_url"):
        url = getattr(config, name)
        if url and not is_safe(url):
            raise BadSetting(f"{name} is {url!r}; it begins with https:// unless it is this machine.")
    return Claims(
        issuer=config.oidc_issuer,
        audience=config.oidc_audience,
        algorithms=config.oidc_algorithms,
        leeway=config.oidc_leeway_seconds,
        name=config.oidc_name_claim,
        roles=config.oidc_roles_claim,
        meanings=read_meanings(config.oidc_roles),
        studies=config.oidc_studies_claim,
        patients=config.oidc_patients_claim,
        nodes=config.oidc_nodes_claim,
    )
