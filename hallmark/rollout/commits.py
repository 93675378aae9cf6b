"""A follower that pushes release.yaml, and what is rendered from it for its domain, to the repository that a cluster is applied from."""

from __future__ import annotations

import base64
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hallmark.errors import Conflict, DeclarationError, HallmarkError, Unavailable
from hallmark.rollout.decision_units import CandidateUnit
from hallmark.rollout.followers import ConfigMapReader, ReleaseFile
from hallmark.section import Frozen

if TYPE_CHECKING:
    from hallmark.rollout.record import RolloutRecord
    from hallmark.settings import Settings

_log = logging.getLogger(__name__)
_TRIES = 5
"""Pushes that somebody else may come before, until the next time."""
_SECONDS = 120.0
_WHO = ("hallmark watch", "watch@hallmark.invalid")
_CONFIG = {
    "core.hooksPath": os.devnull,
    "core.symlinks": "false",  # a link in the repository leads nowhere here
    "credential.helper": "",
    "http.followRedirects": "false",  # the token goes where it was meant to
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
}


class Repository(Frozen):
    """A branch of a Git repository, and the file with the token that may push to it.

    The file is read anew for each push, since what mounts it may renew it.
    """

    url: str
    branch: str
    token: Path | None = None

    @classmethod
    def at(cls, url: str, *, branch: str, token: Path | None) -> Repository:
        """The same, checked. `DeclarationError` where it could not work, or the token would be seen by others."""
        parts = urlsplit(url)
        here = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if parts.scheme not in ("https", "file") and not (parts.scheme == "http" and here):
            raise _wrong("the repository's address cannot be pushed to", "https://host/path, or file:///path", url)
        if parts.username or parts.password:
            raise _wrong(
                "the repository's address holds a name or a password",
                "the token in a file: --commit-token FILE",
                parts.hostname or "",
            )
        if not branch or branch.startswith("-") or ".." in branch or any(sign in branch for sign in " ~^:?*[\\"):
            raise _wrong("this is no name of a branch", "such as main", branch)
        if shutil.which("git") is None:
            raise _wrong("git is not installed here", "git on the PATH, as the image hallmark/platform has it", "none")
        found = cls(url=url, branch=branch, token=token)
        found.environment()
        return found

    def environment(self) -> dict[str, str]:
        """Variables for git: nothing of this machine's configuration, no question asked, and the token in no argument and no file."""
        config = dict(_CONFIG)
        if self.token is not None:
            try:
                token = self.token.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise _wrong(
                    "the token of the repository cannot be read", "a file with the token", f"{self.token}: {error}"
                ) from error
            if not token or any(sign.isspace() for sign in token):
                raise _wrong(
                    "the token of the repository is none", "one word", f"{self.token}, which is empty or has several"
                )
            basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
            config[f"http.{self.url}.extraHeader"] = f"Authorization: Basic {basic}"
        numbered = {"GIT_CONFIG_COUNT": str(len(config))}
        for at, (key, value) in enumerate(config.items()):
            numbered |= {f"GIT_CONFIG_KEY_{at}": key, f"GIT_CONFIG_VALUE_{at}": value}
        kept = {
            key: os.environ[key]
            for key in ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "https_proxy", "no_proxy")
            if key in os.environ
        }
        name, mail = _WHO
        return {
            **kept,
            **numbered,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": mail,
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": mail,
            "LC_ALL": "C",
        }


class ReleaseCommit:
    """release.yaml in the repository: a commit of one domain's folder, pushed if the branch is still where it was read."""

    name = "commit"

    def __init__(self, settings: Settings, writer: ConfigMapReader, repository: Repository) -> None:
        self._settings = settings
        self._writer = writer
        self._repository = repository

    def follow(self, domain: str, record: RolloutRecord) -> list[str]:
        """Commit and push what differs; nothing where the branch says it already. A push that comes second starts over from what was first."""
        for _ in range(_TRIES):
            with tempfile.TemporaryDirectory(prefix="commit-") as folder:
                try:
                    return self._push(domain, record, Path(folder) / "checkout")
                except Conflict:
                    continue
        raise Unavailable(
            f"release.yaml of {domain} cannot be pushed to {self._repository.branch}",
            expected="the branch to rest for a moment",
            got=f"somebody else was first, {_TRIES} times",
            fix="nothing; it is tried again",
        )

    def _push(self, domain: str, record: RolloutRecord, checkout: Path) -> list[str]:
        branch = self._repository.branch
        self._git(
            "clone",
            "--quiet",
            "--depth=1",
            "--no-tags",
            f"--branch={branch}",
            "--",
            self._repository.url,
            str(checkout),
        )
        here = self._settings.model_copy(update={"root": checkout, "releases": checkout / "inference_services"})
        if not here.domains.is_dir():
            raise Unavailable(
                f"{self._repository.url} is no checkout of Hallmark",
                expected="domains/ and inference_services/ at its root",
                got="no domains/",
                fix="name another repository or branch: --commit-to, --commit-branch",
            )
        ReleaseFile(here, self._writer).follow(domain, record)
        try:
            CandidateUnit(here).follow(domain, record)
        except HallmarkError as error:
            _log.warning("the decision of %s gets no candidate in %s: %s", domain, branch, error)
        # Of what this image renders, its domain's part alone: the others' are not this commit's business.
        self._git("add", "--all", "--", f"inference_services/{domain}", at=checkout)
        if not self._git("diff", "--cached", "--name-only", at=checkout).strip():
            return []
        self._git("commit", "--quiet", "--message", message(domain, record), at=checkout)
        self._git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}", at=checkout)
        commit = self._git("rev-parse", "--short", "HEAD", at=checkout).strip()
        return [f"pushed {commit} to {branch}: release.yaml of {domain}"]

    def _git(self, *arguments: str, at: Path | None = None) -> str:
        """Output of a git command. `Conflict` where the branch has moved on."""
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=at,
                env=self._repository.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise self._failed(arguments[0], f"no end within {_SECONDS:g} s") from error
        if done.returncode == 0:
            return done.stdout
        told = done.stderr.strip()
        if "fetch first" in told or "non-fast-forward" in told or "cannot lock ref" in told:
            raise Conflict(f"{self._repository.branch} has moved on", got=told)
        if "could not read Username" in told:  # it would ask a person now
            told = "401: the token was refused" if self._repository.token else "401: it wants a token"
        raise self._failed(arguments[0], told[-500:] or f"exit code {done.returncode}")

    def _failed(self, what: str, got: str) -> HallmarkError:
        return Unavailable(
            f"git {what} failed for {self._repository.url}, branch {self._repository.branch}",
            expected="a token that may read it and push to that branch",
            got=got,
            fix="mend token, branch or its protection; it is tried again. `hallmark settle` in a checkout does it by hand",
        )


def message(domain: str, record: RolloutRecord) -> str:
    """A commit's message: which version is stable of which domain, and why."""
    version = record.stable.version if record.stable else "none"
    reasons = "\n".join(f"- {reason}" for reason in record.reasons)
    return f"Release version {version} of {domain}" + (f"\n\n{reasons}" if reasons else "") + "\n"


def _wrong(what: str, expected: str, got: str) -> DeclarationError:
    return DeclarationError(
        what, expected=expected, got=got, fix="see hallmark watch --help: --commit-to, --commit-branch, --commit-token"
    )
