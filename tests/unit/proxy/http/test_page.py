import re
from dataclasses import dataclass

import pytest
from starlette.applications import Starlette
from starlette.types import Message

from proxy.http.page import FILES, FOLDER, INDEX, Page
from proxy.http.request_id import RequestId

MAX_BYTES = 200_000

ADDRESS = re.compile(r"""(?:href|src)="([^"]+)"|from "([^"]+)"|url\(([^)]+)\)""")
"""What a file of the page may make the browser fetch."""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


async def ask(path: str, *, method: str = "GET", **headers: str) -> Answer:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": fields, "query_string": b""}
    await RequestId(Page(Starlette()))(scope, receive, send)
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    assert len(found) == len(sent[0]["headers"]), "a header field is there twice"
    return Answer(sent[0]["status"], found, sent[1]["body"])


@pytest.mark.parametrize("path", FILES)
async def test_file_is_served_under_a_strict_policy(path: str) -> None:
    answer = await ask(path)
    assert answer.status == 200
    assert answer.headers["content-length"] == str(len(answer.body))
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_page_is_html_and_its_modules_javascript() -> None:
    assert (await ask(INDEX)).headers["content-type"] == "text/html; charset=utf-8"
    assert (await ask("/page/app.js")).headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize("prefix", ["", 'W/"other", '])
async def test_file_that_the_browser_has_is_not_sent_again(prefix: str) -> None:
    etag = (await ask(INDEX)).headers["etag"]
    again = await ask(INDEX, if_none_match=prefix + etag)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
    assert (await ask(INDEX, if_none_match='"other"')).status == 200


async def test_head_has_no_content() -> None:
    head, got = await ask(INDEX, method="HEAD"), await ask(INDEX)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize("path", ["/page", "/page/", "/page/index.html", "/page/../http/app.py", "/page/nothing.js"])
async def test_nothing_else_is_served(path: str) -> None:
    assert (await ask(path)).status == 404


async def test_page_takes_no_post() -> None:
    assert (await ask(INDEX, method="POST")).status == 404


def test_page_is_light() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MAX_BYTES


def test_page_names_no_other_host_and_only_files_that_there_are() -> None:
    known = {f"page/{path.name}" for path in FOLDER.iterdir()} | {"model/card", "docs"}
    for path in FOLDER.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "://" not in text.replace('xmlns="http://www.w3.org/2000/svg"', ""), path.name
        addresses = ["".join(found) for found in ADDRESS.findall(text)]
        assert {address.replace("./", "page/") for address in addresses} <= known, path.name


def test_every_module_is_preloaded() -> None:
    index = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert all(f'"page/{module.name}"' in index for module in FOLDER.glob("*.js"))
