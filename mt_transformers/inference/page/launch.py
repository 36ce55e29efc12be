"""The page's server: where it listens, how it starts and ends."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import InputError
from .forms import InputForm
from .service import PredictionService
from .style import FONTS, MONO_FONTS, make_style_sheet

if TYPE_CHECKING:
    import gradio as gr

__all__ = ["check_address", "check_gradio", "launch_page"]

_LARGEST_UPLOAD = "10mb"


def check_gradio() -> None:
    """
    Make sure that Gradio is there, before anything takes time.

    Raises:
        InputError: If it cannot be imported.
    """
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise InputError(f'the page needs gradio: pip install "mt_transformers[page]" ({error}).') from error


def check_address(host: str, port: int) -> None:
    """
    Make sure that a server can listen there.

    Args:
        host (`str`): Name or address of this machine.
        port (`int`): The port.

    Raises:
        InputError: If the port is taken, or is none, or the host is not of this machine.

    Example:
        >>> check_address("127.0.0.1", 70000)
        Traceback (most recent call last):
            ...
        mt_transformers.errors.InputError: port: expected a number from 1 to 65535, found 70000.
    """
    if not 1 <= port <= 65535:
        raise InputError(f"port: expected a number from 1 to 65535, found {port}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            # a port whose last server has just ended is free
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        raise InputError(f"cannot listen on {host}, port {port}: {error.strerror or error}.") from error


def launch_page(
    service: PredictionService, forms: Sequence[InputForm], title: str, subtitle: str, host: str, port: int
) -> gr.Blocks:
    """
    Start the page's server on threads of its own.

    Args:
        service ([`PredictionService`]): What answers.
        forms (`Sequence[InputForm]`): The kinds of rows, see [`find_forms`].
        title (`str`): What stands on top.
        subtitle (`str`): What stands beside it.
        host (`str`): Name or address of this machine; `127.0.0.1` is reached from this machine only.
        port (`int`): The port.

    Returns:
        `gradio.Blocks`: The running page; its `local_url` is where it is, its `close` ends it.

    Raises:
        InputError: If it cannot start.

    Example:
        A page for an hour::

            page = launch_page(service, find_forms(model, service.heads), "out", "bert", "127.0.0.1", 7860)
            time.sleep(3600)
            page.close()
    """
    import gradio as gr

    from .blocks import build_page

    page = build_page(service, forms, title, subtitle)
    theme = gr.themes.Default(font=list(FONTS), font_mono=list(MONO_FONTS), primary_hue="indigo", neutral_hue="slate")
    # the theme's own is too pale to be read with ease
    theme.set(body_text_color_subdued="*neutral_500")
    try:
        page.launch(
            server_name=host,
            server_port=port,
            theme=theme,
            css=make_style_sheet(),
            share=False,
            quiet=True,
            show_error=True,
            prevent_thread_lock=True,
            inbrowser=False,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            mcp_server=False,
            ssr_mode=False,
            pwa=False,
            max_file_size=_LARGEST_UPLOAD,
        )
    except (OSError, ValueError) as error:
        raise InputError(f"the page cannot start on {host}, port {port}: {error}") from error
    return page
