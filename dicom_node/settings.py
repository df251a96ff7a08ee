"""Every setting of the node, read once from environment variables, which begin with DICOM_.

A bad value is a `SettingsError` that names the variable and the value.
"""

import os
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dicom_node.addresses import Address, hide_password, read_address, read_ae_title
from dicom_node.errors import SettingsError

PREFIX = "DICOM_"

MIN_PDU_BYTES = 4096
MAX_PDU_BYTES = 1 << 20

Network = IPv4Network | IPv6Network

_NOTHING: dict[str, Any] = {}
"""All values come from the environment, also those without a default."""


def _listed(read: Callable[[str], object]) -> BeforeValidator:
    """Read each word of a list with commas."""

    def every(value: Any) -> Any:
        words = value.split(",") if isinstance(value, str) else value
        return tuple(read(word.strip()) if isinstance(word, str) else word for word in words if word)

    return BeforeValidator(every)


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("the URL of a service, such as http://127.0.0.1:7860")
    return text.rstrip("/")


def queue_folder() -> Path:
    """Return the folder of the queue, which the operator's command needs without the other settings."""
    named = os.environ.get(f"{PREFIX}QUEUE_DIR")
    if named:
        return Path(named).absolute()
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "pneumonia-dicom-node"


Port = Annotated[int, Field(ge=1, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
AeTitle = Annotated[str, AfterValidator(read_ae_title)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Folder = Annotated[Path, AfterValidator(Path.absolute)]


class Settings(BaseSettings):
    """How the node runs; the variables carry the same names in capitals behind DICOM_."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    # --- films in
    host: str = "127.0.0.1"
    """Where C-STORE and STOW-RS are taken."""
    port: Port = 11112
    """Of the DICOM node; the one registered for it, which needs no root."""
    ae_title: AeTitle = "PNEUMONIA"
    """What senders must call it."""
    calling_ae_titles: Annotated[tuple[str, ...], NoDecode, _listed(read_ae_title)] = Field(min_length=1)
    """Who may send, by name."""
    addresses: Annotated[tuple[Network, ...], NoDecode, _listed(ip_network)] = (
        IPv4Network("127.0.0.0/8"),
        IPv6Network("::1/128"),
    )
    """Who may connect, by C-STORE and STOW-RS: addresses and networks such as 10.0.7.0/24."""
    stow_port: Port | None = None
    """Where `POST /studies` is taken; without it, STOW-RS is not."""
    stow_token: SecretStr | None = None
    """What senders of STOW-RS must carry, as `Authorization: Bearer TOKEN`."""
    stow_wait_s: Seconds = 10
    """How long a request of STOW-RS waits for one of the places; then it is told to come back."""
    stow_part_timeout_s: Seconds = 300
    """How long a part may take to arrive, however steadily it does."""
    stow_max_request_bytes: int = Field(default=1_000_000_000, ge=1, le=1 << 40)
    """The largest request, of all its instances together."""
    max_associations: int = Field(default=10, ge=1, le=1000)
    """At once; one more is told to come back. As many requests of STOW-RS are read at once."""
    max_pdu_bytes: int = Field(default=65_536, ge=MIN_PDU_BYTES, le=MAX_PDU_BYTES)
    """The longest message unit that senders may use."""
    max_object_bytes: int = Field(default=20_000_000, ge=1, le=1_000_000_000)
    """The largest object; the service's own MAX_FILM_BYTES should be no less."""
    network_timeout_s: Seconds = 30
    """How long a peer, or the service, may go without sending anything it should."""

    # --- screening
    service_url: BaseUrl = "http://127.0.0.1:7860"
    service_key: SecretStr | None = None
    """The API key, where the service has keys."""
    operating_point: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    """The service's own default where it is not set."""
    screeners: int = Field(default=2, ge=1, le=64)
    """Films that are screened at once."""

    # --- results out
    destinations: Annotated[tuple[Address, ...], NoDecode, _listed(read_address)] = Field(min_length=1)
    """Who gets the results: AE@host:port for C-STORE, a DICOMweb service's URL for STOW-RS."""
    destination_token: SecretStr | None = None
    """For destinations by STOW-RS without a user in their URL: `Authorization: Bearer TOKEN`."""
    ca_file: Folder | None = None
    """Certificates that the service and destinations by https are held against, where they are not public ones."""
    retry_first_s: Seconds = 5
    retry_longest_s: Seconds = 900
    """A wait after a failure, doubled each time up to the longest; without an end."""

    # --- the queue
    queue_dir: Folder = Field(default_factory=queue_folder)
    """Holds films until their results were delivered; only its owner may look into it."""
    max_queue_bytes: int = Field(default=20_000_000_000, ge=1, le=1 << 50)
    """Films that may wait, with their results; more are refused as `out of resources`, which senders try again. The
    films that wait already get their results all the same."""
    keep_records_days: float = Field(default=30, ge=0, le=36_500)
    """How long it is known which films were screened, so that one that comes again is not screened again."""

    @classmethod
    def from_environ(cls) -> Self:
        """Read the settings; an empty variable counts as unset.

        Raises:
            SettingsError: A value is not of its kind, or one that is needed is missing.
        """
        try:
            settings = cls(**_NOTHING)
        except ValidationError as exc:
            fault = exc.errors(include_url=False, include_context=False)[0]
            raise SettingsError(_sentence(str(fault["loc"][0]), fault["type"], fault["msg"])) from None
        settings._check()
        return settings

    def _check(self) -> None:
        names = [address.name for address in self.destinations]  # without user and password
        for name in names:
            if names.count(name) > 1:
                raise SettingsError(f"DICOM_DESTINATIONS: {name} is listed twice")
        if self.stow_port == self.port:
            raise SettingsError(f"DICOM_STOW_PORT={self.stow_port} is also DICOM_PORT: every port must be its own")
        if self.ca_file is not None and not self.ca_file.is_file():
            raise SettingsError(f"DICOM_CA_FILE={str(self.ca_file)!r} is no file")
        if self.retry_first_s > self.retry_longest_s:
            raise SettingsError(
                f"DICOM_RETRY_FIRST_S={self.retry_first_s:g} is over DICOM_RETRY_LONGEST_S={self.retry_longest_s:g}"
            )
        if self.stow_max_request_bytes < self.max_object_bytes:
            raise SettingsError(
                f"DICOM_STOW_MAX_REQUEST_BYTES={self.stow_max_request_bytes} cannot hold one object of "
                f"DICOM_MAX_OBJECT_BYTES={self.max_object_bytes}"
            )
        if self.max_queue_bytes < self.max_object_bytes:
            raise SettingsError(
                f"DICOM_MAX_QUEUE_BYTES={self.max_queue_bytes} cannot hold one object of "
                f"DICOM_MAX_OBJECT_BYTES={self.max_object_bytes}"
            )

    def may_connect(self, host: str) -> bool:
        """Whether an address is on the allow list."""
        found = ip_address(host.partition("%")[0])
        mapped = getattr(found, "ipv4_mapped", None)  # how a socket of both kinds names an IPv4 address
        return any((mapped or found) in network for network in self.addresses)


def _sentence(field: str, kind: str, message: str) -> str:
    """Say what is wrong with a variable, in one line and without a secret."""
    name = f"{PREFIX}{field.upper()}"
    if kind == "missing":
        needed = {"calling_ae_titles": "name who may send films", "destinations": "name who gets the results"}
        return f"{name} is not set: {needed.get(field, 'it is needed')}"
    value = "..." if field in {"service_key", "stow_token", "destination_token"} else os.environ.get(name, "")
    return f"{name}={hide_password(value)!r} is not right: {message.removeprefix('Value error, ')}"
