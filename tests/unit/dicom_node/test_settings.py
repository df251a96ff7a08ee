"""The node's settings, read from environment variables."""

from pathlib import Path

import pytest

from dicom_node.addresses import DicomAddress, StowAddress
from dicom_node.errors import SettingsError
from dicom_node.settings import Settings
from tests.dicom_peers import make_settings

NEEDED = {"DICOM_CALLING_AE_TITLES": "CT1, CR2", "DICOM_DESTINATIONS": "PACS@10.0.0.5:104,https://pacs/dicom-web"}


@pytest.fixture(autouse=True)
def _needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


def test_lists_are_split_at_commas() -> None:
    settings = Settings.from_environ()
    assert settings.calling_ae_titles == ("CT1", "CR2")
    assert settings.destinations == (DicomAddress("PACS", "10.0.0.5", 104), StowAddress("https://pacs/dicom-web"))


@pytest.mark.parametrize("name", NEEDED)
def test_who_may_send_and_who_gets_results_must_be_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", None):
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
        with pytest.raises(SettingsError, match=name):
            Settings.from_environ()


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOM_PORT", "")
    assert Settings.from_environ().port == 11112


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DICOM_PORT", "0"),
        ("DICOM_PORT", "many"),
        ("DICOM_AE_TITLE", "MORE THAN SIXTEEN"),
        ("DICOM_CALLING_AE_TITLES", "A\\B"),
        ("DICOM_ADDRESSES", "10.0.0.0/33"),
        ("DICOM_ADDRESSES", "10.0.0.1/24"),
        ("DICOM_DESTINATIONS", "PACS"),
        ("DICOM_SERVICE_URL", "127.0.0.1:7860"),
        ("DICOM_MAX_PDU_BYTES", "100"),
        ("DICOM_NETWORK_TIMEOUT_S", "nan"),
        ("DICOM_STOW_PORT", "11112"),
        ("DICOM_CA_FILE", "/no/such/file"),
        ("DICOM_RETRY_FIRST_S", "1000"),
        ("DICOM_MAX_QUEUE_BYTES", "100"),
        ("DICOM_STOW_MAX_REQUEST_BYTES", "100"),
        ("DICOM_OPERATING_POINT", "a b"),
    ],
)
def test_bad_value_is_named_with_its_variable(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        Settings.from_environ()
    message = str(refused.value)
    assert message.startswith(name)
    assert repr(value)[1:-1] in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("PACS@10.0.0.5:104,OTHER@10.0.0.5:104, PACS@10.0.0.5:104", "PACS@10.0.0.5:104"),
        ("https://pacs/dicom-web/,https://me:hunter2@pacs/dicom-web", "https://pacs/dicom-web"),
    ],
)
def test_destination_that_is_listed_twice_is_named(value: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOM_DESTINATIONS", value)
    with pytest.raises(SettingsError) as refused:
        Settings.from_environ()
    assert str(refused.value) == f"DICOM_DESTINATIONS: {name} is listed twice"


def test_secrets_are_in_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DICOM_SERVICE_KEY", "DICOM_STOW_TOKEN", "DICOM_DESTINATION_TOKEN"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("DICOM_DESTINATIONS", "https://me:hunter2@pacs/dicom-web")
    assert "hunter2" not in repr(Settings.from_environ())
    monkeypatch.setenv("DICOM_DESTINATIONS", "https://me:hunter2@pacs/?q")
    with pytest.raises(SettingsError) as refused:
        Settings.from_environ()
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("10.0.7.9", True), ("10.0.8.9", False), ("::1", False), ("::ffff:10.0.7.9", True),
     ("fe80::1%eth0", False)],
)  # fmt: skip
def test_only_listed_addresses_may_connect(host: str, expected: bool, tmp_path: Path) -> None:
    assert make_settings(tmp_path, addresses="127.0.0.0/8, 10.0.7.0/24").may_connect(host) is expected


def test_by_itself_only_this_machine_may_connect(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    assert settings.may_connect("127.0.0.1")
    assert settings.may_connect("::1")
    assert not settings.may_connect("192.168.0.1")
