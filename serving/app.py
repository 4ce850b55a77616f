"""The app: endpoints, the page, and what stands before them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware

from serving import emotions, figures, model_page, open_inference
from serving.access import Door, Rules
from serving.problems import answer_problems
from serving.service import Service

PAGE = Path(__file__).with_name("page")


def build_app(service: Service) -> FastAPI:
    """Return the app of a service, which it starts and closes with itself."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.follower.start()
        yield
        service.close()

    app = FastAPI(
        title="Faces in, emotions out",
        version="1",
        description="Finds the faces of pictures and says how likely each emotion is. Nothing of a picture is kept.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    for part in (emotions, model_page, open_inference, figures):
        app.include_router(part.router)
    app.mount("/page", StaticFiles(directory=PAGE), "page")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    answer_problems(app)
    serving = service.settings.serving
    if serving.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(serving.allowed_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )
    app.add_middleware(Door, rules=Rules.of(serving), metrics=service.metrics)
    return app
