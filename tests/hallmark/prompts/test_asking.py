"""Golden items asked of a server that fails in each way that it can: what is the prompt's fault, what is the server's, and how often it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from hallmark.errors import Unavailable
from hallmark.prompts import chat
from hallmark.prompts import prompt as prompts
from hallmark.prompts.asking import LanguageModel
from hallmark.prompts.chat import Outcome
from hallmark.prompts.sealed import SealedPrompt
from local_cluster.chat_standin import FAULTS, ChatStandIn
from tests.hallmark.prompts.standin import running

ROOT = Path(__file__).parents[3]
WHOLE = prompts.load(ROOT / "prompts", "authentication-review")
ITEM = WHOLE.golden[0]
NOT_TOLD_BY_CAUSE = {"401": True, "404-no-model": True, "400-too-long": False}
"""Of 4xx: is it the server's fault?"""


@pytest.fixture(scope="module")
def standin() -> ChatStandIn:
    return ChatStandIn()


@pytest.fixture(scope="module")
def llm(standin: ChatStandIn) -> Iterator[LanguageModel]:
    with running(standin) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield LanguageModel(client)


def prompt(*, tries: int = 2, seconds: float = 0.5) -> SealedPrompt:
    budget = WHOLE.prompt.budget.model_copy(update={"tries": tries, "timeout": timedelta(seconds=seconds)})
    return SealedPrompt(digest="sha256:0", prompt=WHOLE.prompt.model_copy(update={"budget": budget}))


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_server_does_wrong_is_no_answer_of_a_prompt(standin: ChatStandIn, llm: LanguageModel, name: str) -> None:
    cause = FAULTS[name][0]
    standin.fault, standin.faulty = name, -1
    if NOT_TOLD_BY_CAUSE.get(name, cause in chat.OF_NO_PROMPT):
        with pytest.raises(Unavailable, match="is ill, so nothing was judged") as told:
            llm.ask(prompt(), ITEM)
        assert ITEM.id in told.value.got and "127.0.0.1" in told.value.message
    else:
        assert llm.ask(prompt(), ITEM).cause == cause


@pytest.mark.parametrize("name", ["hangs-up", "429", "503", "500", "html", "not-json"])
def test_what_failed_once_is_asked_again_with_the_next_seed(
    standin: ChatStandIn, llm: LanguageModel, name: str
) -> None:
    standin.fault, standin.faulty = name, 1
    del standin.asked[:]
    assert llm.ask(prompt(seconds=10), ITEM).cause is None
    first, second = standin.asked
    assert second["seed"] == first["seed"] + 1


def test_it_is_asked_as_often_as_the_budget_says(standin: ChatStandIn, llm: LanguageModel) -> None:
    for tries in (1, 3):
        standin.fault, standin.faulty = "500", -1
        del standin.asked[:]
        with pytest.raises(Unavailable, match="HTTP 500"):
            llm.ask(prompt(tries=tries, seconds=10), ITEM)
        assert len(standin.asked) == tries


def test_a_second_try_that_came_late_leaves_what_the_first_said(standin: ChatStandIn, llm: LanguageModel) -> None:
    replies = iter(("not-json", "slow"))

    def reply(asked: dict[str, object]) -> bytes | None:
        return FAULTS[next(replies)][1](asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standin, "reply", reply)
        assert llm.ask(prompt(), ITEM) == Outcome(None, "not_json")


def test_no_server_is_named_with_what_the_system_says_and_without_a_password() -> None:
    client = httpx.Client(base_url="http://ana:secret@127.0.0.1:9", trust_env=False)
    with client, pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9 is ill") as told:
        LanguageModel(client).ask(prompt(), ITEM)
    assert "Connection refused" in told.value.got and "secret" not in str(told.value)


def test_a_busy_server_says_how_long_it_wants_to_be_left_alone() -> None:
    assert chat.pause(0, status=429, retry_after="7") == 7.0
    assert [chat.pause(at) for at in range(3)] == pytest.approx([0.1, 0.2, 0.4])
    for status, asked in ((500, "7"), (429, "Fri, 31 Dec 1999"), (503, "9999"), (503, "²")):
        assert chat.pause(0, status=status, retry_after=asked) == pytest.approx(0.1)
