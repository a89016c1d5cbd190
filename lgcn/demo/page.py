"""The page of ``lgcn demo``: Gradio's components around the functions of this part."""

import os
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from lgcn.checks import InputError
from lgcn.demo.comparison import Comparison, add_paint, compare, has_edges
from lgcn.demo.drawing import SIDE, draw_face, nearest_landmark, view_around
from lgcn.demo.text import describe_face, effect_table, listening_table
from lgcn.images import as_image_tensor
from lgcn.predict import Face, LandmarkPredictor, NoFaceWarning

if TYPE_CHECKING:
    import gradio

MARK_LABELS = {
    "lines": "contours",
    "90 % ellipses": "ellipses",
    "before the graph": "initial",
    "confidence as colour": "confidence",
    "numbers": "indices",
}

INTRODUCTION = """\
# Landmarks that know their errors
**1.** Add a photo of a face, or use the webcam (bin symbol: start again).
**2.** Click a landmark to see what it listens to.
**3.** Paint over a part of the face, and see how the other landmarks help."""

LEGEND = """\
**blue**: landmarks, hollow where the model believes them covered · **ellipses**: hold the true landmark with 90 %
probability · **orange**: landmarks before the graph · **yellow**: the strongest edges into the chosen landmark"""

NO_PHOTO = "Add a photo of a face on the left."
NO_FACE = (
    "**No face was found in this photo.** Try one with a larger face, seen from the front. Paint makes no difference: "
    "faces are looked for without it."
)


class Session(NamedTuple):
    """What the page knows of the photo of one visitor."""

    photo: Tensor
    """uint8 [3, H, W], without paint."""
    faces: list[Face]
    """From large to small; none if no face was found."""
    painted: Tensor
    """uint8 [3, H, W]."""
    mask: Tensor
    """bool [H, W], where the paint is."""
    comparison: Comparison | None = None
    """Of the chosen face."""


def import_gradio() -> Any:
    """The module of Gradio, which sends nothing to its makers.

    Raises:
        InputError: if it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise InputError(f"Expected Gradio for the page (got: {error}). pip install 'lgcn[demo]'") from None
    return gradio


def look(
    predictor: LandmarkPredictor, picture: dict[str, Any] | None, face: int, before: Session | None
) -> Session | None:
    """Find the faces of what the editor holds, and compare the chosen one without and with paint.

    Args:
        predictor: finds faces and landmarks.
        picture: ``background`` and ``layers``, Pillow images, as Gradio's editor returns them.
        face: number of the chosen face, from 0, the largest; the last if there are fewer.
        before: the last result; its faces are taken if the photo is the same.

    Returns:
        None if there is no photo.
    """
    if picture is None or picture["background"] is None:
        return None
    photo = as_image_tensor(picture["background"])
    layers = [layer for layer in picture["layers"] if layer is not None]
    painted, mask = add_paint(photo, layers)
    if before is not None and torch.equal(before.photo, photo):
        faces = before.faces
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoFaceWarning)
            faces = predictor(photo)
    comparison = compare(predictor, photo, painted, mask, faces[min(face, len(faces) - 1)]) if faces else None
    return Session(photo, faces, painted, mask, comparison)


def create_page(predictor: LandmarkPredictor) -> "gradio.Blocks":
    """The page for one predictor; ``create_page(predictor).launch()`` serves it.

    Raises:
        InputError: if Gradio is not installed.
    """
    gr = import_gradio()
    scheme = predictor.detector.scheme
    marks = dict(MARK_LABELS)
    if predictor.detector.refiner is None:
        del marks["before the graph"]

    def on_picture(picture: Any, face: int | None, before: Session | None) -> Any:
        session = look(predictor, picture, face or 0, before)
        count = 0 if session is None else len(session.faces)
        choices = [(f"{number + 1}{' (largest)' if not number else ''}", number) for number in range(count)]
        chosen = min(face or 0, max(count - 1, 0))
        return session, gr.update(choices=choices, value=chosen if count else None, visible=count > 1)

    def on_face(picture: Any, face: int | None, before: Session | None) -> Any:
        return look(predictor, picture, face or 0, before)

    def draw(session: Session | None, labels: list[str], landmark: str | None) -> Any:
        if session is None:
            return None, NO_PHOTO, "", ""
        if session.comparison is None:
            return _as_pillow(session.painted), NO_FACE, "", ""
        comparison = session.comparison
        given = tuple(marks[label] for label in labels)
        if comparison.painted.covariance is None:
            given = tuple(mark for mark in given if mark != "ellipses")
        edges = has_edges(predictor)
        image = draw_face(
            session.painted,
            comparison.painted,
            scheme,
            view_around(comparison.seen, session.photo),
            marks=given,
            landmark=landmark if edges else None,
        )
        listening = listening_table(comparison, scheme, landmark)
        return image, describe_face(session.faces, comparison), effect_table(comparison), listening

    def on_click(session: Session | None, event: gr.SelectData) -> Any:
        if session is None or session.comparison is None:
            return gr.skip()
        view = view_around(session.comparison.seen, session.photo)
        return nearest_landmark(session.comparison.painted, scheme, view, *event.index)

    with gr.Blocks(title="lgcn demo", analytics_enabled=False) as page:
        session = gr.State()
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column():
                editor = gr.ImageEditor(
                    type="pil",
                    label="Photo: paint on it",
                    sources=("upload", "webcam", "clipboard"),
                    brush=gr.Brush(colors=["#808080", "#202020", "#e0e0e0", "#c08060"], color_mode="fixed"),
                    layers=False,
                    transforms=(),
                    height=SIDE,
                    elem_id="photo",
                )
                face = gr.Radio(label="Face", visible=False, elem_id="face")
            with gr.Column():
                result = gr.Image(
                    label="Landmarks: click one",
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    height=SIDE,
                    elem_id="landmarks",
                )
                labels = gr.CheckboxGroup(list(marks), value=list(marks)[:3], label="Draw", elem_id="marks")
                landmark = gr.Dropdown(
                    [("none", None), *scheme.names], label="Chosen landmark", elem_id="landmark", value=None
                )
        gr.Markdown(LEGEND)
        status = gr.Markdown(NO_PHOTO, elem_id="status")
        with gr.Row():
            effect = gr.Markdown(elem_id="effect")
            listening = gr.Markdown(elem_id="listening")

        shown = {"inputs": [session, labels, landmark], "outputs": [result, status, effect, listening]}
        changed = editor.change(on_picture, [editor, face, session], [session, face], trigger_mode="always_last")
        changed.then(draw, **shown)
        face.input(on_face, [editor, face, session], session).then(draw, **shown)
        labels.input(draw, **shown)
        landmark.change(draw, **shown)
        result.select(on_click, session, landmark)
    return page


def launch_page(page: "gradio.Blocks", host: str, port: int, *, share: bool = False, browser: bool = False) -> str:
    """Serve a page in threads of this process, and return its address.

    Args:
        page: see :func:`create_page`.
        host: address of this machine to serve at.
        port: a free one.
        share: also make a public link, through Gradio's servers, which is then returned.
        browser: open the page in the browser.

    Raises:
        InputError: if the page cannot be served, or there is no public link.
    """
    try:
        _, local, public = page.launch(
            server_name=host,
            server_port=port,
            share=share,
            inbrowser=browser,
            prevent_thread_lock=True,
            quiet=True,
            show_error=True,
            ssr_mode=False,
            footer_links=["gradio"],
        )
    except OSError as error:
        raise InputError(f"Expected port {port} of {host} to be free (got: {error}). Choose another port.") from error
    if share and not public:
        raise InputError("Expected a public link from Gradio's servers for '--share' (got none). Leave '--share' out.")
    return public or local


def _as_pillow(pixels: Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())
