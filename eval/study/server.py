"""The server of a preference study: the page, its pictures, and people's answers (`eval/study/answers.py`).

| address | |
|---|---|
| `GET /`, `GET /s/<token>` | the page; the second is a person's link |
| `GET /api/about` | number of questions, the consent line |
| `POST /api/start` `{consent: true}` | registers a person: their token and first question |
| `GET /api/answers/<token>` | the person's next question |
| `POST /api/answers/<token>` `{position, choice, milliseconds}` | stores an answer; then the next question |
| `GET /pictures/<number>.png` | a picture |

The server keeps no log of requests, sets no cookie, and tells a browser nothing about the models.
"""

from asyncio import wrap_future
from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eval.study.answers import AnswerStore, Progress
from eval.study.folder import PICTURES, Study, picture_name
from eval.study.packages import study_packages
from nada.run.errors import UserError
from nada.run.validation import sentence

#: Larger bodies are refused unread; an answer has less than 100 bytes.
MOST_BYTES = 4096
MOST_KEPT = 512 << 20  # bytes of pictures in memory
CACHED = {"Content-Type": "image/png", "Cache-Control": "max-age=86400"}
BACKLOG = 1024  # connections that wait to be accepted
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PAGE_FILES = {"study.css": "text/css", "study.js": "text/javascript", "index.html": "text/html"}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address of a person's page is their secret
}


class Answer(BaseModel):
    """The body of an answer."""

    model_config = ConfigDict(extra="forbid", strict=True)
    position: int = Field(ge=0, lt=2**31)
    choice: Literal["left", "right"]
    milliseconds: int = Field(ge=0, lt=2**53)


class Consent(BaseModel):
    """The body of a start."""

    model_config = ConfigDict(extra="forbid", strict=True)
    consent: Literal[True]


def page_file(name: str) -> str:
    """A file of eval/study/page/."""
    return resources.files("eval.study").joinpath("page", name).read_text(encoding="utf-8")


def state(study: Study, progress: Progress) -> dict:
    """What a browser is told: the next question of a person, without the models."""
    seen = {"position": progress.answered, "length": study.length}
    if progress.answered >= study.length:
        return seen
    questions = study.questions_of(progress.booklet)
    now, later = questions[progress.answered], questions[progress.answered + 1 : progress.answered + 2]
    return seen | {
        "question": now.text,
        "left": address(now.left),
        "right": address(now.right),
        "next": [address(number) for question in later for number in (question.left, question.right)],
    }


def address(picture: int) -> str:
    return f"/{PICTURES}/{picture_name(picture)}"


class Pictures:
    """The study's pictures as PNG, by the names of their files; those that fit stay in memory."""

    def __init__(self, study: Study):
        numbers = {*study.booklets.left, *study.booklets.right}
        self._paths = {picture_name(number): study.picture(number) for number in numbers}
        self._kept, self._room = {}, MOST_KEPT

    def read(self, name: str) -> bytes | None:
        """The content of a picture; None for a name that the study does not have."""
        if name in self._kept or name not in self._paths:
            return self._kept.get(name)
        content = self._paths[name].read_bytes()
        if len(content) <= self._room:
            self._kept[name] = content
            self._room -= len(content)
        return content


def application(study: Study, store: AnswerStore, hosts=("*",)):
    """The ASGI application. hosts: names under which browsers may call it, `*` for any."""
    with study_packages():
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.responses import JSONResponse, Response
        from starlette.routing import Route

    files = {name: Response(page_file(name), media_type=kind) for name, kind in PAGE_FILES.items()}
    files["backend.js"] = Response(page_file("server.js"), media_type="text/javascript")
    about = {"length": study.length, "consent": study.consent}

    def refused(status: int, text: str):
        return JSONResponse({"error": text}, status)

    async def body_of(request, kind):
        """The validated body, or the response that refuses it."""
        if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            return refused(415, "the body must be JSON.")
        content = b""
        async for part in request.stream():
            content += part
            if len(content) > MOST_BYTES:
                return refused(413, f"the body has more than {MOST_BYTES} bytes.")
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            return refused(400, sentence(error))

    def file(name):
        async def respond(_):
            return files[name]

        return respond

    pictures = Pictures(study)

    async def show_picture(request):
        content = pictures.read(request.path_params["name"])
        return refused(404, "there is no such picture.") if content is None else Response(content, headers=CACHED)

    async def tell_about(_):
        return JSONResponse(about)

    async def start(request):
        body = await body_of(request, Consent)
        if not isinstance(body, Consent):
            return body
        token = await wrap_future(store.start())
        return JSONResponse({"token": token, "state": state(study, store.progress(token))}, 201)

    async def tell_state(request):
        progress = store.progress(request.path_params["token"])
        return JSONResponse(state(study, progress)) if progress else unknown()

    async def take_answer(request):
        body, token = await body_of(request, Answer), request.path_params["token"]
        if not isinstance(body, Answer):
            return body
        values = (token, body.position, body.choice, body.milliseconds)
        progress = await wrap_future(store.answer(*values))  # which is on the disk then
        return JSONResponse(state(study, progress)) if progress else unknown()

    def unknown():
        return refused(404, "This link is not known; begin again at the start page.")

    async def failed(_request, _error):
        return refused(500, "the answer could not be stored; it will be sent again.")

    def with_headers(app):
        async def wrapped(scope, receive, send):
            async def add(message):
                if message["type"] == "http.response.start":
                    more = {**HEADERS, **({"Cache-Control": "no-store"} if "/api/" in scope["path"] else {})}
                    message["headers"] += [(k.lower().encode(), v.encode()) for k, v in more.items()]
                await send(message)

            await app(scope, receive, add if scope["type"] == "http" else send)

        return wrapped

    routes = [
        Route("/", file("index.html")),
        Route("/s/{token}", file("index.html")),
        *(Route(f"/{name}", file(name)) for name in ("study.css", "study.js", "backend.js")),
        Route("/api/about", tell_about),
        Route("/api/start", start, methods=["POST"]),
        Route("/api/answers/{token}", tell_state, methods=["GET"]),
        Route("/api/answers/{token}", take_answer, methods=["POST"]),
        Route(f"/{PICTURES}/{{name}}", show_picture),
    ]
    guards = [Middleware(with_headers), Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))]
    return Starlette(routes=routes, middleware=guards, exception_handlers={500: failed})


def serve(study: Study, host: str, port: int, hosts) -> None:
    """Run the server until Ctrl-C. UserError: the address cannot be used."""
    import socket

    with study_packages():
        import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        raise UserError(f"the address {host}:{port} cannot be used ({error}); choose another --port.") from None
    store = AnswerStore(study)
    people, finished, answers = store.counts()
    shown = f"[{host}]" if ":" in host else host
    print(f"study of {study.group} in world {study.world}: {study.length} questions, {study.booklet_count} booklets")
    print(f"answers so far: {answers} of {people} people, {finished} of them finished; in {store.path}")
    print(f"open http://{shown}:{listening.getsockname()[1]}/ ; stop with Ctrl-C", flush=True)
    config = uvicorn.Config(
        application(study, store, hosts), log_level="warning", access_log=False, server_header=False,
        lifespan="off", backlog=BACKLOG,
    )  # fmt: skip
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        store.close()
