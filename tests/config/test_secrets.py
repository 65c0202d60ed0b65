from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from ruamel.yaml import YAML

from edgeagent.config.findings import Marks, Report
from edgeagent.config.secrets import Secret
from edgeagent.config.walk import WRONG, Walker
from edgeagent.errors import ConfigFault


class Options(msgspec.Struct, frozen=True, kw_only=True):
    token: Secret | None = None


def read(text: str, folder: Path = Path("/etc/edgeagent")) -> tuple[Secret, Report]:
    report = Report("agent.yaml")
    options = Walker(report, Marks(), folder).read(YAML().compose(text), Options, ())
    return (WRONG if options is WRONG else options.token), report


def test_a_credential_is_read_from_systemds_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fleet-token").write_text("s3cret\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read("token: {credential: fleet-token}")[0].reveal() == "s3cret"


def test_a_file_is_relative_to_the_config_and_read_when_it_is_used(tmp_path: Path) -> None:
    secret, _ = read("token: {file: token}", tmp_path)
    with pytest.raises(ConfigFault, match="cannot be read: No such file"):
        secret.reveal()
    (tmp_path / "token").write_text("s3cret")
    assert secret.reveal() == "s3cret"


def test_an_environment_variable_holds_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secret, _ = read("token: {env: FLEET_TOKEN}")
    with pytest.raises(ConfigFault, match="not set"):
        secret.reveal()
    monkeypatch.setenv("FLEET_TOKEN", "s3cret")
    assert secret.reveal() == "s3cret"


def test_a_start_by_hand_without_credentials_says_what_to_write_instead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigFault, match=r"LoadCredential=fleet-token.*\{file: PATH\}"):
        read("token: {credential: fleet-token}")[0].reveal()


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigFault, match="empty"):
        read("token: {file: token}", tmp_path)[0].reveal()


@pytest.mark.parametrize("content", ["two\nlines", "a\ttab", "\ufeffmarked", "zero\0"])
def test_a_secret_that_is_not_a_line_of_text_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(
        ConfigFault, match="token}: the secret is not a line of text; expected one line"
    ) as caught:
        Secret("file", str(tmp_path / "token")).reveal()
    assert content not in str(caught.value)


@pytest.mark.parametrize("content", ["with space", "schlüssel", "ключ"])
def test_what_cannot_stand_in_a_header_is_a_password_and_not_a_token(content: str) -> None:
    assert Secret("clear", content).reveal() == content
    with pytest.raises(ConfigFault, match="the secret is not a token") as caught:
        Secret("clear", content).reveal_token()
    assert content not in str(caught.value)


def test_a_secret_in_clear_works_and_is_warned_of() -> None:
    secret, report = read("token: s3cret")
    assert secret.reveal() == "s3cret"
    (warning,) = report.findings
    assert (warning.severity, warning.line, warning.column) == ("warning", 1, 8)


def test_a_secret_is_never_shown() -> None:
    secret, report = read("token: s3cret")
    shown = [str(secret), repr(secret), repr(Options(token=secret)), *map(str, report.findings)]
    assert not any("s3cret" in text for text in shown)
    with pytest.raises(TypeError):
        msgspec.json.encode(Options(token=secret))


@pytest.mark.parametrize(
    "text",
    [
        "token: {value: s3cret}",
        "token: [s3cret]",
        "token: {credential: s3cret, env: s3cret}",
        "token: {credential: ../s3cret}",
        "token: {}",
    ],
)
def test_a_secret_written_wrong_is_a_fault_that_does_not_quote_it(text: str) -> None:
    _, report = read(text)
    assert [f.severity for f in report.findings if f.severity == "fault"]
    assert not any("s3cret" in str(finding) for finding in report.findings)


def test_secrets_of_one_source_are_equal_so_that_a_reload_sees_no_change() -> None:
    assert Secret("env", "A") == Secret("env", "A")
    assert Secret("env", "A") != Secret("file", "A")
