"""Items asked of a server of language models to judge a prompt, with the tries that the reviewer's service makes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from hallmark import remote
from hallmark.errors import Unavailable
from hallmark.prompts import chat, messages
from hallmark.prompts.chat import Cause, Outcome
from hallmark.prompts.messages import Rendered
from hallmark.prompts.prompt import GoldenItem
from hallmark.prompts.sealed import SealedPrompt

if TYPE_CHECKING:
    import httpx

_OF_THE_REQUEST = frozenset({400, 413, 422})
"""Of 4xx those that a prompt earns, such as by its length. Others are about the server: no such model, no right to ask."""
_LARGEST = 1 << 20
_WORDS: dict[Cause, str] = {
    "late": "no whole answer in budget.timeout",
    "media": "no JSON",
    "envelope": "JSON that is no chat completion",
    "other_model": "an answer of another model",
}


class _Try(NamedTuple):
    """What came of one try.   told: what a person is told of it.   pause: seconds before the next."""

    outcome: Outcome
    told: str
    pause: float
    status: int = 0

    @property
    def says_nothing(self) -> bool:
        """Is it no fault of the prompt?"""
        cause = self.outcome.cause
        return cause in chat.OF_NO_PROMPT or (cause == "refused_request" and self.status not in _OF_THE_REQUEST)


class LanguageModel:
    """A server of language models at the client's address."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def ask(self, prompt: SealedPrompt, item: GoldenItem) -> Outcome:
        """What an item is answered within the prompt's budget; `Unavailable` where that is for nothing but the server's fault."""
        budget = prompt.prompt.budget
        until = time.monotonic() + budget.timeout.total_seconds()
        found: _Try | None = None
        for attempt in range(budget.tries):
            rendered = messages.render(prompt.prompt, item.given, examples=prompt.examples)
            last = self._try(prompt, rendered, attempt, until)
            if found is None or last.outcome.cause != "late":
                found = last
            cause = last.outcome.cause
            if cause is None or cause in chat.FINAL or time.monotonic() + last.pause >= until:
                break
            if attempt + 1 < budget.tries:
                time.sleep(last.pause)
        assert found is not None  # noqa: S101  there is one try at least
        if found.says_nothing:
            raise self._unavailable(prompt, item, found)
        return found.outcome

    def _try(self, prompt: SealedPrompt, rendered: Rendered, attempt: int, until: float) -> _Try:
        import httpx

        try:
            with self._client.stream(
                "POST",
                chat.PATH,
                content=chat.body(prompt.prompt, rendered, attempt=attempt),
                headers={"content-type": "application/json"},
                timeout=max(until - time.monotonic(), 0.01),
            ) as reply:
                body = bytearray()
                for part in reply.iter_bytes():
                    body += part
                    if time.monotonic() > until:
                        return _none("late", attempt)
                    if len(body) > _LARGEST:
                        return _none("not_http", attempt, f"more than {_LARGEST >> 20} MiB")
        except httpx.TimeoutException:
            return _none("late", attempt)
        except httpx.HTTPError as error:
            return _none("down", attempt, remote.broken(error))
        status, headers = reply.status_code, reply.headers
        outcome = chat.read(prompt.prompt, rendered.shown, status, headers.get("content-type", ""), bytes(body))
        told = f"HTTP {status}" if status != 200 else _WORDS.get(outcome.cause or "empty", "")
        return _Try(
            outcome, told, chat.pause(attempt, status=status, retry_after=headers.get("retry-after", "")), status
        )

    def _unavailable(self, prompt: SealedPrompt, item: GoldenItem, found: _Try) -> Unavailable:
        place = remote.shown(str(self._client.base_url)).rstrip("/")
        fix = f"see that {place} runs and has {prompt.prompt.model.name}, and judge again"
        if found.outcome.cause == "late":
            fix += "; where it is well, budget.timeout of prompt.yaml is too short for it"
        return Unavailable(
            f"the server of language models at {place} is ill, so nothing was judged",
            expected=f"a chat completion of {prompt.prompt.model.name} by POST {place}{chat.PATH}",
            got=f"{found.told} ({found.outcome.cause}), for item {item.id} by prompt {prompt.version}",
            fix=fix,
        )


def _none(cause: Cause, attempt: int, told: str = "") -> _Try:
    return _Try(Outcome(None, cause), told or _WORDS[cause], chat.pause(attempt))
