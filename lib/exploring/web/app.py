"""The explorer as one ASGI application: Gradio's page, our files and requests beside it, and the guard before all."""

import os
from pathlib import Path

# Unless these are set before its import, Gradio tells its makers that it runs, and asks whether it is up to date.
os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

import gradio
from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from lib.exploring.web.guard import Guard
from lib.exploring.web.page import HEAD, THEME, build_page
from lib.exploring.web.routes import PREFIX, add_answers_to_errors, router

STATIC = Path(__file__).parent / "static"


def build_app(world, password=None):
    """The application of a `lib.exploring.world.World`. password: of an explorer that others reach too."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_answers_to_errors(app)
    app.include_router(router(world, may_write=password is None))
    app.mount(f"{PREFIX}/static", StaticFiles(directory=STATIC))
    page = build_page(world)
    gradio.mount_gradio_app(app, page, path="/", footer_links=[], theme=THEME, head=HEAD, ssr_mode=False, pwa=False,
                            mcp_server=False, enable_monitoring=False, show_error=False)
    return Guard(app, password)
