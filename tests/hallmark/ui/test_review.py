"""The page of reviews: who may do what, what it shows of whom, and what it refuses."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageDraw

from hallmark.files import digest_file
from hallmark.reviews.database import connect
from hallmark.reviews.queue import ReviewQueue
from hallmark.ui.guard import DOMAINS_HEADER, PERSON_HEADER
from hallmark.ui.review import app
from tests.hallmark.reviews.cases import case

HERE = "http://127.0.0.1:8422"
HOSTILE = "<script>alert(1)</script>"
OURS = {"x-hallmark-review": "1"}


def drawn(path: Path, *, colour: str, word: str) -> Path:
    """A photo of a bag."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (640, 480), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((120, 160, 520, 420), fill=colour)
    draw.arc((220, 60, 420, 260), 180, 360, fill=colour, width=14)
    draw.text((300, 280), word, fill="white")
    image.save(path)
    return path


def evidence(folder: Path, name: str, *, colour: str = "saddlebrown") -> dict[str, Any]:
    """Three photos and two references, in the folder."""
    photos = [
        {
            "path": f"{name}/{view}.png",
            "view": view,
            "digest": digest_file(drawn(folder / name / f"{view}.png", colour=colour, word=view)),
        }
        for view in ("front", "logo", "stitching")
    ]
    references = []
    for number in (1, 2):
        path = drawn(folder / "references" / f"{number}.png", colour="darkred", word=f"r{number}")
        references.append(
            {"id": f"ref-{number}", "photo": {"path": f"references/{path.name}"}, "caption": f"authentic {number}"}
        )
    answer = {"verdict": "counterfeit", "reason": "The stitches are wider apart than in ref-2."}
    said = [{"node": "reviewer", "by": "8edf6f932e32", "words": answer, "cites": ["ref-2"]}]
    digests = {"model": "sha256:" + "a" * 64}
    seen = {"scores": {"counterfeit": 0.63}, "said": said, "path": ["model", "person"], "digests": digests}
    return {"photos": photos, "references": references, "seen": seen}


class Site:
    """The application asked without a socket."""

    def __init__(self, queue: ReviewQueue, folder: Path, **given: Any) -> None:
        self._transport = httpx.ASGITransport(app(queue, photos=folder, **{"who": "ana", **given}))

    def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url=HERE) as client:
                return await client.request(method, path, **given)

        return asyncio.run(asked())

    def post(self, path: str, body: Any = None, headers: Any = None) -> httpx.Response:
        return self.ask("POST", path, json={} if body is None else body, headers={**OURS, **(headers or {})})


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[ReviewQueue]:
    made = ReviewQueue(connect(f"sqlite:///{tmp_path / 'reviews.db'}"), second=0.0)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "photos"
    found.mkdir()
    return found


def opened(queue: ReviewQueue, folder: Path, *names: str, **more: Any) -> None:
    for number, name in enumerate(names):
        price = 1000.0 - number
        queue.open(case(name, price=price, opened=datetime.now(UTC), evidence=evidence(folder, name), **more))


def token_of(answer: httpx.Response) -> str:
    found = re.search(r'data-token="([^"]+)"', answer.text)
    assert found, answer.text
    return found[1]


def test_a_look_claims_nothing_and_a_verdict_brings_the_next_case(queue: ReviewQueue, folder: Path) -> None:
    opened(queue, folder, "a", "b")
    site = Site(queue, folder)
    assert 'id="next"' in site.ask("GET", "/").text and queue.counts()["claimed"] == 0
    first = site.post("/next")
    assert "item-a" in first.text and "0.63" in first.text and "authentic 1" in first.text
    assert token_of(site.ask("GET", "/")) == token_of(first), "a reload shows the same case"
    verdict = {"word": "counterfeit", "reason": "logo", "note": HOSTILE, "seconds": 3}
    second = site.post("/verdict", {"token": token_of(first), "verdict": verdict})
    assert "item-b" in second.text and "Take back counterfeit: item-a" in second.text
    (given,) = queue.verdicts()
    assert (given.who, given.verdict.note, given.case.id) == ("ana", HOSTILE, "a")
    back = site.post("/undo")
    assert "item-a" in back.text and not list(queue.verdicts())
    done = site.post("/release", {"token": token_of(back)})
    assert 'id="next"' in done.text and site.ask("GET", "/counts").json() == {"open": 2}
    again = site.post("/release", {"token": token_of(back)})
    assert (again.status_code, again.text) == (200, done.text), "a second click tells the same"


def test_a_late_verdict_is_a_conflict_in_words(queue: ReviewQueue, folder: Path) -> None:
    opened(queue, folder, "a")
    site = Site(queue, folder)
    token = token_of(site.post("/next"))
    queue.release(token)
    answer = site.post("/verdict", {"token": token, "verdict": {"word": "authentic"}})
    assert answer.status_code == 409 and "claim has ended" in answer.json()["message"]
    assert site.post("/renew", {"token": token}).status_code == 409
    assert site.post("/undo").status_code == 409


def test_the_page_counts_down_no_faster_than_the_lease(queue: ReviewQueue, folder: Path) -> None:
    """At 0 it offers the next case: while the lease still ran, that was the same case with no time left."""
    opened(queue, folder, "a")
    shown = re.search(r'data-seconds="(\d+)"', Site(queue, folder).post("/next").text)
    held = queue.held("ana")
    assert shown and held and int(shown[1]) >= (held.lease - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize(
    "given",
    [
        {"json": {}},
        {"json": {}, "headers": {"content-type": "text/plain", **OURS}},
        {"data": {"token": "x"}, "headers": OURS},
        {"content": b"{", "headers": {"content-type": "application/json", **OURS}},  # type: ignore[dict-item]
        {"json": [1], "headers": OURS},
        {"json": {"x": "y" * 20_000}, "headers": OURS},
    ],
)
def test_what_the_pages_own_script_did_not_send_is_refused(
    queue: ReviewQueue, folder: Path, given: dict[str, Any]
) -> None:
    opened(queue, folder, "a")
    site = Site(queue, folder)
    for path in ("/next", "/verdict", "/undo", "/renew", "/release"):
        assert site.ask("POST", path, **given).status_code == 400, path
        assert site.ask("GET", path).status_code == 405, path
    assert queue.counts()["claimed"] == 0


def test_a_name_in_a_form_or_a_header_is_not_who_asks(queue: ReviewQueue, folder: Path) -> None:
    opened(queue, folder, "a")
    site = Site(queue, folder)
    token = token_of(site.post("/next", headers={PERSON_HEADER: "mallory"}))
    body = {"token": token, "verdict": {"word": "authentic"}, "who": "mallory"}
    assert site.post("/verdict", body).status_code == 400
    site.post("/verdict", {"token": token, "verdict": {"word": "authentic"}}, headers={PERSON_HEADER: "mallory"})
    assert [each.who for each in queue.verdicts()] == ["ana"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.7", ""])
def test_a_name_that_is_pointed_at_this_machine_is_refused(queue: ReviewQueue, folder: Path, host: str) -> None:
    opened(queue, folder, "a")
    assert Site(queue, folder).post("/next", headers={"host": host}).status_code == 400
    assert queue.counts()["claimed"] == 0


def test_behind_the_gateway_it_says_who_asks_and_which_domains_are_theirs(queue: ReviewQueue, folder: Path) -> None:
    opened(queue, folder, "a")
    opened(queue, folder, "b", domain="listing")
    site = Site(queue, folder, shared=True, who="", prefix="/reviews")
    ben = {PERSON_HEADER: "ben@example.test", DOMAINS_HEADER: "listing"}
    found = site.post("/reviews/next", headers=ben)
    assert "item-b" in found.text and "ben@example.test" in site.ask("GET", "/reviews/", headers=ben).text
    assert site.ask("GET", "/reviews/counts", headers=ben).json() == {"open": 0}
    site.post("/reviews/verdict", {"token": token_of(found), "verdict": {"word": "authentic"}}, headers=ben)
    assert [each.who for each in queue.verdicts()] == ["ben@example.test"]
    nobody: tuple[dict[str, str], ...] = (
        {},
        {PERSON_HEADER: "ben"},
        {DOMAINS_HEADER: "listing"},
        {PERSON_HEADER: " ", DOMAINS_HEADER: "listing"},
    )
    for headers in nobody:
        for method, path in (("GET", "/reviews/"), ("POST", "/reviews/next"), ("GET", "/reviews/counts")):
            answer = site.ask(method, path, headers={**OURS, **headers}, **({"json": {}} if method == "POST" else {}))
            assert answer.status_code == 403 and "item-" not in answer.text, (path, headers)


def test_a_photo_is_shown_to_whoever_has_its_case_alone(queue: ReviewQueue, folder: Path) -> None:
    opened(queue, folder, "a")
    site = Site(queue, folder, shared=True)
    ana, ben = ({PERSON_HEADER: name, DOMAINS_HEADER: "authentication"} for name in ("ana", "ben"))
    page = site.post("/next", headers=ana).text
    addresses = re.findall(r'src="(/photo/[^"]+)"', page)
    assert len(set(addresses)) == 5
    for address in addresses:
        answer = site.ask("GET", address, headers=ana)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert Image.open(io.BytesIO(answer.content)).size == (640, 480)
        assert site.ask("GET", address, headers=ben).status_code == 404
    for wrong in ("photo/3", "photo/-1", "other/0", "reference/2"):
        assert site.ask("GET", addresses[0].rsplit("/", 2)[0] + f"/{wrong}", headers=ana).status_code == 404


def test_files_that_are_no_photos_of_the_folder_are_not_shown(queue: ReviewQueue, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(drawn(tmp_path / "x.png", colour="red", word="x").read_bytes())
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "page.png").write_text("<html><script>alert(1)</script>")
    (folder / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    drawn(folder / "other.png", colour="red", word="other")
    paths = [{"path": name} for name in ("link.png", "page.png", "drawing.svg", "none.png")]
    paths += [{"path": "other.png", "digest": "sha256:" + "0" * 64}]
    queue.open(case("a", opened=datetime.now(UTC), evidence={"photos": paths}))
    site = Site(queue, folder)
    addresses = list(dict.fromkeys(re.findall(r'src="(/photo/[^"]+)"', site.post("/next").text)))
    assert [site.ask("GET", each).status_code for each in addresses] == [404, 404, 404, 404, 409]
    for path in ("../secret.png", "/etc/passwd", "a/../../x", "a\\b"):
        with pytest.raises(ValueError, match="below the folder of photos"):
            case("b", evidence={"photos": [{"path": path}]})


def test_nothing_from_outside_is_markup_and_the_policy_lets_own_photos_alone_in(
    queue: ReviewQueue, folder: Path
) -> None:
    said = {"node": HOSTILE, "by": HOSTILE, "words": {HOSTILE: HOSTILE}}
    seen = {"scores": {HOSTILE: 0.5}, "said": [said], "path": [HOSTILE], "digests": {HOSTILE: HOSTILE}}
    photos = [{"path": "x.png", "view": HOSTILE}]
    references = [{"id": "r", "photo": {"path": "y.png"}, "caption": HOSTILE}]
    found = {"photos": photos, "references": references, "seen": seen}
    queue.open(case("a", opened=datetime.now(UTC), evidence=found))
    site = Site(queue, folder)
    for answer in (site.post("/next"), site.ask("GET", "/")):
        assert HOSTILE not in answer.text and "&lt;script&gt;" in answer.text
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "img-src 'self'" in policy and "script-src 'self';" in policy
        assert answer.headers["cache-control"] == "no-store"


def test_what_a_reviewer_said_is_folded_and_its_citations_lead_to_their_pictures(
    queue: ReviewQueue, folder: Path
) -> None:
    found = evidence(folder, "a")
    first = found["references"][0]["id"]
    said = {"node": "reviewer", "by": "8edf6f932e32", "words": {"verdict": "counterfeit", "reason": "Say authentic."}}
    found["seen"] = {"said": [{**said, "cites": [first, "elsewhere"]}, {"node": "other", "missing": "late"}]}
    queue.open(case("a", opened=datetime.now(UTC), evidence=found))
    text = Site(queue, folder).post("/next").text
    assert (text.count('<details class="said"'), text.count("data-answered")) == (2, 1) and "<details open" not in text
    assert f'<button type="button" data-cite="0">{first}</button>' in text and "elsewhere (no picture)" in text
    assert "Say authentic." in text and "It gave no answer: late." in text and "8edf6f932e32" in text


def test_nothing_left_is_said_and_another_domains_cases_are_not_offered(queue: ReviewQueue, folder: Path) -> None:
    opened(queue, folder, "b", domain="listing")
    site = Site(queue, folder, domains={"authentication"})
    assert 'id="next"' in site.post("/next").text and site.ask("GET", "/counts").json() == {"open": 0}


@pytest.mark.parametrize("prefix", ["", "/reviews"])
def test_a_browser_finds_the_icon_where_each_page_says_and_never_at_the_hosts_root(
    queue: ReviewQueue, folder: Path, prefix: str
) -> None:
    site = Site(queue, folder, prefix=prefix)
    for path, status in (("/", 200), ("/photo/none/photo/0", 404)):
        page = site.ask("GET", prefix + path)
        assert page.status_code == status and f'<link rel="icon" href="{prefix}/icon.svg">' in page.text
    icon = site.ask("GET", f"{prefix}/icon.svg")
    assert icon.status_code == 200 and icon.headers["content-type"] == "image/svg+xml" and b"<svg" in icon.content
