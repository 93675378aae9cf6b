"""External secrets: one that nobody has made yet says so, and a password of any signs comes out of an address as it went in."""

from __future__ import annotations

import configparser
import json
import re
from urllib.parse import quote_plus

import pytest
import yaml

from tests.manifests.builds import FIRST_QUICK, Object, everything, platform

SIGNS = "a b+c%20d/e:f@g?h#i&j=k;l'm\"n\\o~p%%q%(r)s[t]{u}|v^w`x<y>z,ä€"


def secrets(cluster: str) -> list[Object]:
    return [each for each in everything(cluster) if each["kind"] == "ExternalSecret"]


@pytest.mark.slow
@pytest.mark.parametrize("cluster", FIRST_QUICK)
def test_a_secret_that_is_not_there_yet_is_not_ready(cluster: str) -> None:
    """With deletionPolicy Delete it is: Ready, because it was deleted as there is none."""
    found = {each["spec"]["target"]["name"]: each["spec"]["target"].get("deletionPolicy") for each in secrets(cluster)}
    assert {"mlflow", "watch"} <= found.keys()
    assert set(found.values()) <= {"Retain", None}, found


def filled(template: str, values: dict[str, str]) -> str:
    """A template's text as External Secrets fills it in, of the few functions that ours use."""

    def one(match: re.Match[str]) -> str:
        name, *pipe = [each.strip() for each in match[1].split("|")]
        value = values[name.removeprefix(".")]
        for step in pipe:
            if step == "urlquery":  # Go's: a space becomes +
                value = quote_plus(value, safe="~")
            elif step == "toRawJson":
                value = json.dumps(value, ensure_ascii=False)
            elif replaced := re.fullmatch(r'replace "([^"]+)" "([^"]+)"', step):
                value = value.replace(replaced[1], replaced[2])
            else:
                raise AssertionError(f"{step} is not understood here")
        return value

    return re.sub(r"\{\{(.+?)\}\}", one, template)


@pytest.mark.parametrize("cluster", FIRST_QUICK)
def test_mlflows_databases_are_reached_with_a_password_of_any_signs(cluster: str) -> None:
    from psycopg2.extensions import parse_dsn  # libpq's own reading
    from sqlalchemy import make_url

    (secret,) = [
        each for each in platform(cluster) if each["kind"] == "ExternalSecret" and each["metadata"]["name"] == "mlflow"
    ]
    data = secret["spec"]["target"]["template"]["data"]
    values = {"username": "hallmark", "password": SIGNS, "host": "db.internal", "admin": "a", "flask": "f"}
    parser = configparser.ConfigParser()
    parser.read_string(filled(data["basic_auth.ini"], values))
    for address, database in (
        (filled(data["uri"], values), "mlflow"),
        (parser["mlflow"]["database_uri"], "mlflow_auth"),
    ):
        url, dsn = make_url(address), parse_dsn(address)
        assert (url.username, url.password, url.host, url.database) == ("hallmark", SIGNS, "db.internal", database)
        assert (dsn["user"], dsn["password"], dsn["host"], dsn["dbname"]) == (
            "hallmark",
            SIGNS,
            "db.internal",
            database,
        )


@pytest.mark.parametrize("cluster", FIRST_QUICK)
def test_pipelines_speaks_tls_and_reaches_s3_by_its_role(cluster: str) -> None:
    """RDS refuses who speaks no TLS. Without these empty keys the API server would take those of its own configuration."""
    from google.protobuf import text_format, wrappers_pb2

    built = platform(cluster)
    (store,) = [
        each for each in built if each["kind"] == "ExternalSecret" and each["metadata"]["name"] == "metadata-store"
    ]
    text = filled(
        store["spec"]["target"]["template"]["data"]["store.pbtxt"], {"username": "pipelines", "password": SIGNS}
    )
    assert "ssl_options" in text
    (password,) = re.findall(r"^ *password: (.*)$", text, re.M)
    assert text_format.Parse(f"value: {password}", wrappers_pb2.StringValue()).value == SIGNS

    (pipelines,) = [each for each in built if each["metadata"]["name"] == "kubeflow-pipelines"]
    patches = {
        patch["target"]["name"]: yaml.safe_load(patch["patch"])
        for source in pipelines["spec"]["sources"]
        for patch in source.get("kustomize", {}).get("patches", [])
    }
    (container,) = patches["ml-pipeline"]["spec"]["template"]["spec"]["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment["OBJECTSTORECONFIG_ACCESSKEY"] == environment["OBJECTSTORECONFIG_SECRETACCESSKEY"] == ""
    region = environment["OBJECTSTORECONFIG_REGION"]
    assert environment["OBJECTSTORECONFIG_HOST"] == f"s3.{region}.amazonaws.com"
    assert json.loads(environment["DBCONFIG_MYSQLCONFIG_EXTRAPARAMS"])["tls"] == "skip-verify"
    assert "tls" in patches["cache-server"][0]["value"]
