"""The page of ``lgcn demo``: Gradio's components around the functions of this part."""

import os
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from lgcn.checks import InputError
from lgcn.demo.comparison import Comparison, add_paint, compare, has_edges
from lgcn.demo.drawing import draw_face, nearest_landmark, view_around
from lgcn.demo.text import describe_faces, effect_table, listening_table
from lgcn.images import as_image_tensor
from lgcn.predict import Face, LandmarkPredictor, NoFaceWarning

if TYPE_CHECKING:
    import gradio

MARKS_BY_LABEL = {
    "lines": "contours",
    "90 % ellipses": "ellipses",
    "before the graph": "initial",
    "confidence as colour": "confidence",
    "numbers": "indices",
}

PAINT = ("#808080", "#202020", "#e0e0e0", "#c08060")
"""Colours of the brush."""
HEIGHT = 560
"""Pixels of both images on the page."""

INTRODUCTION = """\
# Landmarks that know their errors
**1.** Add a photo of a face, or use the webcam. **2.** Click a landmark to see what it listens to. **3.** Paint over a
part of the face: the expected errors grow under the brush, and the landmarks there listen to the others."""

LEGEND = """\
**blue** landmarks, hollow where the model believes them covered; **ellipses** that hold the true landmark with 90 %
probability; **orange** landmarks before the graph; **yellow** the strongest edges into the chosen landmark"""

NO_PHOTO = "Add a photo of a face, or use the sample."
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
    face: int
    """Number of the chosen face, 0 if there is none."""
    comparison: Comparison | None = None
    """Of the chosen face."""


def import_gradio() -> Any:
    """The module of Gradio, which sends nothing to its makers and keeps no history of photos in the browser.

    Raises:
        InputError: if it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = os.environ["GRADIO_RUN_HISTORY"] = "False"
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
        ``before`` itself if nothing is different; None if there is no photo.
    """
    if picture is None or picture["background"] is None:
        return None
    photo = as_image_tensor(picture["background"])
    layers = [layer for layer in picture["layers"] if layer is not None]
    painted, mask = add_paint(photo, layers)
    if before is not None and torch.equal(before.photo, photo):
        faces = before.faces
        if before.face == _within(face, faces) and torch.equal(before.painted, painted):
            return before
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoFaceWarning)
            faces = predictor(photo)
    face = _within(face, faces)
    comparison = compare(predictor, photo, painted, mask, faces[face]) if faces else None
    return Session(photo, faces, painted, face, comparison)


def _within(face: int, faces: list[Face]) -> int:
    return max(0, min(face, len(faces) - 1))


def create_page(predictor: LandmarkPredictor) -> "gradio.Blocks":
    """The page for one predictor; :func:`launch_page` serves it.

    Raises:
        InputError: if Gradio is not installed.
    """
    gr = import_gradio()
    from gradio import SelectData

    scheme = predictor.detector.scheme
    marks = {label: mark for label, mark in MARKS_BY_LABEL.items() if predictor.detector.refiner or mark != "initial"}

    def on_picture(picture: Any, face: int | None, labels: list[str], landmark: str | None, before: Any) -> Any:
        session = look(predictor, picture, face or 0, before)
        if session is before and before is not None:
            # Gradio reports a photo several times.
            return gr.skip()
        count = 0 if session is None else len(session.faces)
        choices = [(str(number + 1) if number else "1 (largest)", number) for number in range(count)]
        chosen = None if session is None or not count else session.face
        return session, gr.update(choices=choices, value=chosen, visible=count > 1), *draw(session, labels, landmark)

    def draw(session: Session | None, labels: list[str], landmark: str | None) -> tuple[Any, str, str, str]:
        if session is None:
            return None, NO_PHOTO, "", ""
        if session.comparison is None:
            return to_pillow(session.painted), NO_FACE, "", ""
        comparison = session.comparison
        unknown = "ellipses" if comparison.painted.covariance is None else None
        image = draw_face(
            session.painted,
            comparison.painted,
            scheme,
            view_around(comparison.seen, session.photo),
            marks=tuple(marks[label] for label in labels if marks[label] != unknown),
            landmark=landmark if has_edges(predictor) else None,
        )
        found = describe_faces(session.faces, comparison)
        return image, found, effect_table(comparison), listening_table(comparison, scheme, landmark)

    def on_click(session: Session | None, event: SelectData) -> Any:
        if session is None or session.comparison is None:
            return gr.skip()
        view = view_around(session.comparison.seen, session.photo)
        return nearest_landmark(session.comparison.painted, scheme, view, *event.index)

    with gr.Blocks(title="lgcn demo", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        session = gr.State()
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column():
                editor = gr.ImageEditor(
                    type="pil",
                    label="Photo: paint on it",
                    placeholder="Drop a photo here\nor choose file or webcam on the left",
                    brush=gr.Brush(colors=list(PAINT), color_mode="fixed"),
                    layers=False,
                    transforms=(),
                    height=HEIGHT,
                    elem_id="photo",
                )
                sample = gr.Button("Use the sample photo", elem_id="sample")
                face = gr.Radio(label="Face", visible=False, elem_id="face")
                gr.Markdown(LEGEND)
            with gr.Column():
                result = gr.Image(
                    label="Landmarks: click one",
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    height=HEIGHT,
                    elem_id="landmarks",
                )
                labels = gr.CheckboxGroup(list(marks), value=list(marks)[:3], label="Draw", elem_id="marks")
                names = [("none", None), *scheme.names]
                landmark = gr.Dropdown(names, value=None, label="Chosen landmark", elem_id="landmark")
        found = gr.Markdown(NO_PHOTO, elem_id="found")
        with gr.Row():
            effect = gr.Markdown(elem_id="effect")
            listening = gr.Markdown(elem_id="listening")

        drawn = [result, found, effect, listening]
        everything = {"inputs": [editor, face, labels, landmark, session], "outputs": [session, face, *drawn]}
        # 'upload' is a new photo, 'input' a stroke. While one is computed only the last of further strokes waits.
        # No progress bar over the image, which would catch clicks.
        quick: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "minimal"}
        gr.on([editor.upload, editor.input, editor.clear], on_picture, **everything, **quick)
        sample.click(sample_picture, None, editor).then(on_picture, **everything, **quick)
        face.input(on_picture, **everything, **quick)
        gr.on([labels.input, landmark.change], draw, [session, labels, landmark], drawn, **quick)
        result.select(on_click, session, landmark, show_progress="hidden")
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


def sample_picture() -> dict[str, Any]:
    """A part of scikit-image's photo of an astronaut (NASA, public domain), as Gradio's editor takes it."""
    # Imported only here: it is slow.
    from skimage.data import astronaut

    photo = Image.fromarray(astronaut()[:300, 76:376])
    return {"background": photo, "layers": [], "composite": photo}


def to_pillow(pixels: Tensor) -> Image.Image:
    """uint8 [3, H, W] as a Pillow image."""
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())
