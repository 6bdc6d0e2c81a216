"""Where credentials are looked for, and what is said when they are not right."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.errors import ConfigurationError
from orchestrator.metastudio.credentials import (
    Credentials,
    IamAccount,
    UserToken,
    check_endpoint,
    find_credentials,
    region_endpoint,
)

PAIR = {"HUAWEICLOUD_SDK_AK": "env-ak", "HUAWEICLOUD_SDK_SK": "env-sk"}
TOKEN = {"ORCHESTRATOR_AUTH_TOKEN": "env-token"}
ACCOUNT = {
    "ORCHESTRATOR_IAM_USER": "ann",
    "ORCHESTRATOR_IAM_PASSWORD": "pass word ü",
    "ORCHESTRATOR_IAM_DOMAIN": "studio",
}


@pytest.fixture
def write_file(tmp_path):
    """Write the vendor's credentials file below a home directory."""

    def write(text: str | bytes, mode: int = 0o600) -> Path:
        path = tmp_path / ".huaweicloud" / "credentials"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    return write


def test_a_key_pair_in_the_environment_goes_before_everything_else(tmp_path, write_file):
    """The vendor's variables win over file, token and account."""
    write_file("[basic]\nak = file-ak\nsk = file-sk\n")
    environ = {**PAIR, **TOKEN, **ACCOUNT, "HUAWEICLOUD_SDK_PROJECT_ID": "p1"}

    found = find_credentials(environ, tmp_path)

    assert found.secret == Credentials("env-ak", "env-sk")
    assert found.source == "HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK"
    assert found.project_id == "p1"


def test_a_security_token_makes_the_pair_temporary(tmp_path):
    """It is sent with every request."""
    found = find_credentials({**PAIR, "HUAWEICLOUD_SDK_SECURITY_TOKEN": " st "}, tmp_path)

    assert found.secret == Credentials("env-ak", "env-sk", "st")


def test_the_vendors_file_goes_before_the_token(tmp_path, write_file):
    """Every value of it is used; a per cent sign is nothing special."""
    path = write_file("\ufeff[basic]\nak = file-ak\nsk = 50%file\nproject_id = p2\nsecurity_token = st\n")

    found = find_credentials(TOKEN, tmp_path)

    assert found.secret == Credentials("file-ak", "50%file", "st")
    assert (found.source, found.project_id, found.warnings) == (str(path), "p2", ())


def test_the_vendors_file_may_be_elsewhere(tmp_path):
    """HUAWEICLOUD_SDK_CREDENTIALS_FILE names it, and the project id of the environment wins."""
    path = tmp_path / "keys"
    path.write_text("[basic]\nak=a\nsk=b\nproject_id=file\n")
    path.chmod(0o600)

    found = find_credentials(
        {"HUAWEICLOUD_SDK_CREDENTIALS_FILE": str(path), "HUAWEICLOUD_SDK_PROJECT_ID": "env"}, tmp_path
    )

    assert (found.source, found.project_id) == (str(path), "env")


def test_a_credentials_file_others_can_read_is_warned_of(tmp_path, write_file):
    """The warning is the command that mends it."""
    path = write_file("[basic]\nak=a\nsk=b\n", mode=0o644)

    assert find_credentials({}, tmp_path).warnings == (
        f"{path} can be read by others; run: chmod 600 {path}",
    )


def test_a_file_for_other_purposes_is_passed_over(tmp_path, write_file):
    """A section [global] alone is no reason to stop looking."""
    write_file("[global]\nak=a\nsk=b\n")

    assert find_credentials(TOKEN, tmp_path).secret == UserToken("env-token")


def test_an_account_is_the_last_resort_and_may_have_its_own_endpoint(tmp_path):
    """Without one it is the vendor's."""
    found = find_credentials(ACCOUNT, tmp_path)
    elsewhere = find_credentials({**ACCOUNT, "ORCHESTRATOR_IAM_ENDPOINT": "https://iam.example"}, tmp_path)

    assert found.secret == IamAccount(
        user="ann", password="pass word ü", domain="studio", endpoint="https://iam.myhuaweicloud.com"
    )
    assert isinstance(elsewhere.secret, IamAccount)
    assert elsewhere.secret.endpoint == "https://iam.example"


def test_no_credentials_at_all_names_every_way_to_give_them(tmp_path):
    """The hint is enough to go on."""
    with pytest.raises(ConfigurationError, match="no credentials") as caught:
        find_credentials({"HUAWEICLOUD_SDK_AK": "  "}, tmp_path)

    for name in ("HUAWEICLOUD_SDK_AK", ".huaweicloud/credentials", "ORCHESTRATOR_AUTH_TOKEN", "IAM_PASSWORD"):
        assert name in (caught.value.hint or "")


@pytest.mark.parametrize("missing", [*PAIR, *ACCOUNT])
def test_half_a_pair_names_what_is_missing(tmp_path, missing):
    """Nothing else is tried instead."""
    source = PAIR if missing in PAIR else ACCOUNT
    environ = {name: value for name, value in source.items() if name != missing}

    with pytest.raises(ConfigurationError, match=f"{missing} is not"):
        find_credentials(environ, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[basic]\nak=secret\n", "sk in .* is not"),
        ("secret without a section\n", "not an INI file"),
        ("[basic]\nak=secret\nak=secret\n", "not an INI file"),
        (b"[basic]\nak=\xff\xfe secret\n", "not an INI file"),
        ("[basic]\nak=secret one\nsk=b\n", "ak contains a blank"),
    ],
    ids=["half a pair", "no section", "twice", "not UTF-8", "blank"],
)
def test_a_broken_file_is_told_without_its_content(tmp_path, write_file, text, message):
    """The parser's own messages quote the line."""
    write_file(text)

    with pytest.raises(ConfigurationError, match=message) as caught:
        find_credentials(TOKEN, tmp_path)

    assert "secret" not in f"{caught.value} {caught.value.hint}"


def test_a_named_file_must_be_there_and_readable(tmp_path):
    """A missing file and a directory are clear errors."""
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            find_credentials({"HUAWEICLOUD_SDK_CREDENTIALS_FILE": str(path)}, tmp_path)


def test_a_named_file_without_the_section_is_an_error(tmp_path):
    """Who names a file means it."""
    path = tmp_path / "keys"
    path.write_text("[global]\nak=a\n")

    with pytest.raises(ConfigurationError, match=r"no section \[basic\]"):
        find_credentials({**TOKEN, "HUAWEICLOUD_SDK_CREDENTIALS_FILE": str(path)}, tmp_path)


@pytest.mark.parametrize("name", ["HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SECURITY_TOKEN"])
def test_a_value_no_header_can_carry_is_told_without_it(tmp_path, name):
    """A line break comes from a careless paste."""
    with pytest.raises(ConfigurationError, match=f"{name} contains") as caught:
        find_credentials({**PAIR, name: "secret\nsecret"}, tmp_path)

    assert "secret\n" not in str(caught.value)


def test_what_was_found_does_not_show_its_secret(tmp_path):
    """For any of the three kinds."""
    environ = {"HUAWEICLOUD_SDK_AK": "s3cret", "HUAWEICLOUD_SDK_SK": "s3cret"}
    token = {"ORCHESTRATOR_AUTH_TOKEN": "s3cret"}
    account = {**ACCOUNT, "ORCHESTRATOR_IAM_PASSWORD": "s3cret"}

    for source in (environ, token, account):
        assert "s3cret" not in repr(find_credentials(source, tmp_path))


def test_a_region_gives_its_endpoint():
    """As the vendor's SDK builds it."""
    assert region_endpoint("cn-north-4") == "https://metastudio.cn-north-4.myhuaweicloud.com"


@pytest.mark.parametrize("region", ["", "cn north", "x.evil.example/", "CN-NORTH-4"])
def test_what_is_no_region_is_refused(region):
    """It would become part of a host name that gets the credentials."""
    with pytest.raises(ConfigurationError, match="not a region"):
        region_endpoint(region)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://metastudio.example/", "https://metastudio.example"),
        (" https://h:8443/ ", "https://h:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost:1", "http://localhost:1"),
    ],
)
def test_https_and_loopback_are_good_endpoints(url, endpoint):
    """A slash at the end does not matter."""
    assert check_endpoint(url) == endpoint


@pytest.mark.parametrize("path", ["v1", "v1/", "v1/project/digital-human-training-manage", "gateway"])
def test_an_endpoint_with_a_path_is_refused_with_what_to_write(path):
    """The client adds the API's path: with `/v1` in it twice every call of every entry would be refused."""
    with pytest.raises(ConfigurationError, match="has a path") as caught:
        check_endpoint(f"https://h:8443/{path}")

    assert caught.value.hint == "write --endpoint https://h:8443"


@pytest.mark.parametrize(
    ("region", "meant"), [("cn-nroth-4", "cn-north-4"), ("cn-east-2", "cn-east-3"), ("eu-west-101", None)]
)
def test_a_region_that_is_not_known_is_refused_with_the_one_that_was_meant(region, meant):
    """Its host would never be found: cron would try for ever."""
    with pytest.raises(ConfigurationError, match=f"region {region} is not known") as caught:
        region_endpoint(region)

    assert f"https://metastudio.{region}.myhuaweicloud.com" in (caught.value.hint or "")
    assert meant is None or f"--region {meant}" in (caught.value.hint or "")


def test_plain_http_elsewhere_needs_consent():
    """--insecure-http is the operator's word."""
    with pytest.raises(ConfigurationError, match="unprotected") as caught:
        check_endpoint("http://10.0.0.1")

    assert "--insecure-http" in (caught.value.hint or "")
    assert check_endpoint("http://10.0.0.1", is_insecure_http_allowed=True) == "http://10.0.0.1"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "metastudio.example",
        "ftp://h",
        "https://",
        "https://h:port",
        "https://h:99999",
        "https://[::1",
        "https://user:s3cret@h",
        "https://h/?token=s3cret",
        "https://h/#s3cret",
    ],
)
def test_what_is_no_endpoint_is_refused_without_quoting_it(url):
    """It may have a password in it."""
    with pytest.raises(ConfigurationError) as caught:
        check_endpoint(url)

    assert "s3cret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotation_marks_around_a_key_are_named(tmp_path, quote):
    """docker --env-file takes them for part of the value; the service would only say that the signature is wrong."""
    environ = {**PAIR, "HUAWEICLOUD_SDK_SK": f"{quote}env-sk{quote}"}

    with pytest.raises(ConfigurationError, match="HUAWEICLOUD_SDK_SK has quotation marks") as caught:
        find_credentials(environ, tmp_path)

    assert "env-sk" not in f"{caught.value} {caught.value.hint}"
