from pathlib import Path

import pytest

from proxy.errors import SettingsError
from proxy.settings import FORM_ENVELOPE_BYTES, Settings, usable_cores


def test_defaults_listen_on_loopback_and_use_every_core() -> None:
    settings = Settings.from_environ({})
    assert (settings.host, settings.port) == ("127.0.0.1", 7860)
    assert settings.workers == usable_cores() >= 1
    assert settings.run_dir.name == "pneumonia-7860"
    assert settings.archive.name == "pneumonia.mar"


def test_empty_variable_counts_as_unset() -> None:
    assert Settings.from_environ({"PORT": "", "WORKERS": "", "HOST": ""}) == Settings.from_environ({})


def test_body_limit_follows_from_the_film_limit() -> None:
    assert Settings.from_environ({"MAX_FILM_BYTES": "1000"}).max_body_bytes == 1000 + FORM_ENVELOPE_BYTES


def test_run_dir_follows_the_port() -> None:
    assert Settings.from_environ({"PORT": "9999"}).run_dir.name == "pneumonia-9999"


def test_relative_folders_are_made_absolute() -> None:
    assert Settings.from_environ({"RUN_DIR": "here"}).run_dir == Path.cwd() / "here"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "http"),
        ("PORT", "²"),
        ("WORKERS", "0"),
        ("WORKERS", "1.5"),
        ("INFERENCE_PORT", "x"),
        ("MAX_FILM_BYTES", "20MB"),
        ("QUEUE_LIMIT", "0"),
        ("PREDICT_TIMEOUT_S", "0"),
        ("PREDICT_TIMEOUT_S", "nan"),
        ("UPLOAD_TIMEOUT_S", "soon"),
        ("UPLOAD_TIMEOUT_S", "inf"),
        ("ACCESS_LOG", "perhaps"),
        ("RATE_LIMIT", "many"),
    ],
)
def test_bad_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}='{value}' is not "):
        Settings.from_environ({name: value})


def test_two_equal_ports_are_refused() -> None:
    with pytest.raises(SettingsError, match="PORT=7860 is also"):
        Settings.from_environ({"METRICS_PORT": "7860"})


def test_memory_too_small_for_one_film_is_refused() -> None:
    with pytest.raises(SettingsError, match="MAX_HELD_BYTES=1000"):
        Settings.from_environ({"MAX_HELD_BYTES": "1000"})


def test_run_dir_too_long_for_sockets_is_refused() -> None:
    with pytest.raises(SettingsError, match="RUN_DIR"):
        Settings.from_environ({"RUN_DIR": "/" + "x" * 100})


def test_certificate_wants_its_key() -> None:
    with pytest.raises(SettingsError, match="go together"):
        Settings.from_environ({"TLS_CERTFILE": __file__})


@pytest.mark.parametrize("names", [("KEYS_FILE",), ("TLS_CERTFILE", "TLS_KEYFILE")])
def test_missing_file_is_refused_by_name(names: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match=f"{names[0]}='/nowhere' is no file"):
        Settings.from_environ(dict.fromkeys(names, "/nowhere"))


@pytest.mark.parametrize("text", ["127.0.0.1", "10.0.0.0/8, ::1", "192.0.2.7,2001:db8::/64"])
def test_trusted_proxies_are_addresses_and_networks(text: str) -> None:
    assert Settings.from_environ({"TRUSTED_PROXIES": text}).trusted_proxies == text


@pytest.mark.parametrize("text", ["*", "proxy.example", "127.0.0.1,", "10.0.0.1/8"])
def test_proxies_that_would_be_anybody_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="TRUSTED_PROXIES="):
        Settings.from_environ({"TRUSTED_PROXIES": text})
