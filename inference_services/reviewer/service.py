"""One item's review: the prompt is rendered, the model is asked until it gives an answer that holds or the time is over, and nothing else is told."""

from __future__ import annotations

import asyncio
import time

from hallmark.prompts import chat, messages
from hallmark.prompts.answer import Value
from hallmark.prompts.chat import Cause, Outcome
from hallmark.prompts.messages import Rendered
from hallmark.prompts.sealed import SealedPrompt
from inference_services.protocol.errors import NoReview, ReviewerDown
from inference_services.reviewer.messages import ReviewRequest
from inference_services.transport.client import Client
from inference_services.transport.one_model import ServiceMetrics

_MARGIN = 0.05
"""Seconds of a caller's time that are left for the answer's way back."""


class ReviewService:
    """Reviews by one sealed prompt, which is fixed for as long as this lives."""

    def __init__(self, prompt: SealedPrompt, *, client: Client, metrics: ServiceMetrics) -> None:
        self.prompt = prompt
        self.metrics = metrics
        self._client = client

    async def review(self, request: ReviewRequest, *, within: float) -> dict[str, Value]:
        """The answer; `ReviewerDown` or `NoReview` names the cause of the last try. within: seconds that the caller gives."""
        began = time.perf_counter()
        found = await self._asked(request, within=within)
        self.metrics.observe("seconds", time.perf_counter() - began)
        self.metrics.add("reviews", cause=found.cause or "answered")
        if found.cause is None:
            assert found.answer is not None  # noqa: S101  only a cause takes its place
            return found.answer
        if found.cause in chat.OF_THE_SERVER:
            raise ReviewerDown(f"the language model gave no answer: {found.cause}")
        raise NoReview(f"the language model gave no answer that holds: {found.cause}")

    async def _asked(self, request: ReviewRequest, *, within: float) -> Outcome:
        """What came of the last try."""
        loop, budget = asyncio.get_running_loop(), self.prompt.prompt.budget
        until = loop.time() + min(within - _MARGIN, budget.timeout.total_seconds())
        found = Outcome(None, "late")
        for attempt in range(budget.tries):
            rendered = messages.render(self.prompt.prompt, request.given, examples=self.prompt.examples)
            last, pause = await self._try(rendered, attempt, until)
            self.metrics.add("tries", cause=last.cause or "answered")
            if last.cause != "late" or not attempt:
                found = last
            if last.cause is None or last.cause in chat.FINAL:
                break
            if attempt + 1 < budget.tries and loop.time() + pause < until:
                await asyncio.sleep(pause)
            else:
                break
        return found

    async def _try(self, rendered: Rendered, attempt: int, until: float) -> tuple[Outcome, float]:
        """What came of one try, and seconds before the next."""
        body = chat.body(self.prompt.prompt, rendered, attempt=attempt)
        try:
            async with asyncio.timeout_at(until):
                reply = await self._client.post(chat.PATH, [body], [("content-type", "application/json")])
        except TimeoutError:
            return _none("late"), chat.pause(attempt)
        except OSError:
            return _none("down"), chat.pause(attempt)
        except ValueError:
            return _none("not_http"), chat.pause(attempt)
        media = reply.headers.get(b"content-type", b"").decode("latin-1")
        asked = reply.headers.get(b"retry-after", b"").decode("latin-1")
        found = chat.read(self.prompt.prompt, rendered.shown, reply.status, media, reply.body)
        return found, chat.pause(attempt, status=reply.status, retry_after=asked)


def _none(cause: Cause) -> Outcome:
    return Outcome(None, cause)
