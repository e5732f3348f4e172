# SPDX-License-Identifier: Apache-2.0
"""Images, depth, clouds and figures in Rerun's viewer, or in a file for it; needs no ROS."""

from __future__ import annotations

import importlib.util
import math
import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.lens import field_of_view_deg
from depth_ros.core.types import Anchors
from depth_ros.offline import layout
from depth_ros.parameters.settings import Colorized

APPLICATION = 'depth_ros'
GRPC_PORT, WEB_PORT = 9876, 9090  #: Rerun's own defaults
URL = f'rerun+http://127.0.0.1:{GRPC_PORT}/proxy'  #: where its viewer listens
WINDOW_PATIENCE_S = 20.0  #: for a new viewer to listen
FLUSH_S = 10.0  #: for what was logged to arrive at the end
MEMORY = '2GB'  #: default of a viewer
JPEG_QUALITY = 85
#: timelines: the stamp of the image; seconds since the start of a video; number of the image
STAMP, TIME, FRAME = 'stamp', 'time', 'frame'
#: settings.colorized.colormap -> Rerun's name; it has no other of ours
_COLORMAPS = {name: name for name in ('turbo', 'inferno', 'magma', 'viridis')}


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is shown.

    Args:
        kind: window, web, save or connect.
        target: file of save; URL of connect.
        memory: that a viewer or a web server may take, with a unit; beyond, it forgets the oldest.
    """

    kind: str = 'window'
    target: str = ''
    memory: str = MEMORY


def rerun() -> Any:
    """The library.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import rerun as rr
    except ImportError:
        raise ConfigError(
            "depth-ros view needs rerun-sdk, which is not installed: pip install 'depth_ros[view]'"
        ) from None
    return rr


class Viewer:
    """One recording of Rerun, with a layout.

    Entities are below the name of a camera or input: `camera` (the pinhole), `camera/image`,
    `camera/depth`, `camera/anchors`, `points`, and the figures.

    Args:
        place: where it is shown.
        colors: range of the colours of depth, and their map; None for the range of the first
            image, and turbo.
        follow: the newest is shown, as it comes; otherwise all is played from the start.

    Raises:
        ConfigError: Rerun is not installed, or it cannot be shown there.
    """

    def __init__(
        self, place: Place, colors: Colorized | None = None, *, follow: bool = True
    ) -> None:
        self._rr = rerun()
        self._colors, self._follow = colors, follow
        self._recording = self._rr.RecordingStream(APPLICATION)
        self._rr.set_log_time_enabled(False, recording=self._recording)
        #: what a person must know of the place, '' for nothing
        self.where = _open(self._rr, self._recording, place)
        self._cameras: dict[str, Camera] = {}
        self._ranges: dict[str, tuple[float, float]] = {}  # root -> of the colours [m]
        self._distance_m: dict[str, float] = {}  # root -> median depth of the first image [m]
        self._groups: dict[str, dict[str, None]] = {}  # root -> groups of figures, in order
        self._styled: set[str] = set()
        self._has_layout: Any = None

    def show(
        self,
        name: str,
        stamp_ns: int | None = None,
        *,
        timeline: str = STAMP,
        frame: int | None = None,
        rgb: NDArray[np.uint8] | None = None,
        z: NDArray[np.float32] | None = None,
        camera: Camera | None = None,
        points: NDArray[np.float32] | None = None,
        colored: bool = True,
        anchors: Anchors | None = None,
        scale: tuple[float, float] | None = None,
        figures: Mapping[str, float] | None = None,
    ) -> None:
        """Show what is known of one image; what is None stays as it was.

        Args:
            name: of the camera or input.
            stamp_ns: time of the image [ns]; None for pictures, which have none.
            timeline: of that time, `STAMP` or `TIME`.
            frame: number of the image.
            rgb: (H, W, 3), of `camera`.
            z: (H, W) [m], as in `DepthMap`.
            camera: as in `DepthMap`.
            points: (n, 4), as `core.encode.dense` gives them.
            colored: the fourth column has colours.
            anchors: pixels of known depth.
            scale: and its relative standard deviation [%].
            figures: 'group/name' -> value, for plots.
        """
        rr, root = self._rr, self._root(name)
        self._set_time(stamp_ns, timeline, frame)
        if z is not None and root not in self._distance_m:
            self._measure(root, z)
        # Rerun knows pinholes only: the raw image of a lens is shown without one
        is_pinhole = camera is not None and not camera.is_distorted
        if camera is not None and is_pinhole and camera != self._cameras.get(root):
            self._show_camera(root, camera)
        if rgb is not None:
            self._log(f'{root}/camera/image', _jpeg(rr, rgb))
        if z is not None:
            self._log(f'{root}/camera/depth', self._depth(root, z))
        if points is not None:
            self._log(f'{root}/points', self._points(points, colored=colored))
        if anchors is not None:
            self._log(f'{root}/camera/anchors', self._anchors(root, anchors))
        groups = self._groups.setdefault(root, {})
        for path, value in {**(figures or {}), **_of_scale(scale)}.items():
            if math.isfinite(value):
                groups.setdefault(path.partition('/')[0])
                if path in layout.LINES and f'{root}/{path}' not in self._styled:
                    self._styled.add(f'{root}/{path}')
                    lines = rr.SeriesLines(**layout.LINES[path])
                    self._log(f'{root}/{path}', lines, static=True)
                self._log(f'{root}/{path}', rr.Scalars(value))
        self._lay_out(timeline if stamp_ns is not None else FRAME)

    def tell(
        self, name: str, text: str, stamp_ns: int | None = None, *, level: str = 'INFO'
    ) -> None:
        """Add a line to the log of a camera or input.

        Args:
            name: of the camera or input.
            text: of the line.
            stamp_ns: its time [ns].
            level: INFO, WARN or ERROR.
        """
        self._set_time(stamp_ns, STAMP, None)
        self._log(f'{self._root(name)}/log', self._rr.TextLog(text, level=level))

    def describe(self, name: str, camera: Camera, network: Mapping[str, str]) -> None:
        """A table beside the figures: network and camera."""
        across, down = camera.hfov_deg, camera.vfov_deg
        if camera.is_distorted:
            across, down = field_of_view_deg(camera)
        rows = {
            **network,
            'camera': f'{camera.width} x {camera.height} px',
            'fx, fy': f'{camera.fx:.1f}, {camera.fy:.1f} px',
            'cx, cy': f'{camera.cx:.1f}, {camera.cy:.1f} px',
            'field of view': f'{across:.1f} x {down:.1f} deg',
        }
        (first, value), *others = rows.items()
        table = ''.join(f'| {key} | {text} |\n' for key, text in others)
        document = self._rr.TextDocument(
            f'| {first} | {value} |\n|---|---|\n{table}', media_type='text/markdown'
        )
        self._log(f'{self._root(name)}/about', document, static=True)

    def close(self) -> None:
        """Deliver all of it, and end the file."""
        try:
            self._recording.flush(timeout_sec=FLUSH_S)
        except RuntimeError as error:  # the window was closed
            print(f'the viewer was closed, and has not got all: {error}', file=sys.stderr)
        self._recording.disconnect()

    def _root(self, name: str) -> str:
        parts = [self._rr.escape_entity_path_part(part) for part in name.split('/') if part]
        return '/' + '/'.join(parts)

    def _log(self, path: str, *what: Any, static: bool = False) -> None:
        self._recording.log(path, *what, static=static)

    def _set_time(self, stamp_ns: int | None, timeline: str, frame: int | None) -> None:
        self._recording.reset_time()
        if stamp_ns is not None:
            ns = int(stamp_ns)
            if timeline == TIME:
                self._recording.set_time(TIME, duration=np.timedelta64(ns, 'ns'))
            else:
                self._recording.set_time(STAMP, timestamp=np.datetime64(ns, 'ns'))
        if frame is not None:
            self._recording.set_time(FRAME, sequence=frame)

    def _show_camera(self, root: str, camera: Camera) -> None:
        rr = self._rr
        if root not in self._cameras:
            self._log(root, rr.ViewCoordinates.RDF, static=True)
        self._cameras[root] = camera
        pinhole = rr.Pinhole(
            image_from_camera=[
                [camera.fx, 0, camera.cx + 0.5],
                [0, camera.fy, camera.cy + 0.5],  # Rerun's pixels have their centres at 0.5
                [0, 0, 1],
            ],
            resolution=[camera.width, camera.height],
            camera_xyz=rr.ViewCoordinates.RDF,
            image_plane_distance=0.15 * self._distance_m.get(root, 1.0),
        )
        self._log(f'{root}/camera', pinhole)

    def _measure(self, root: str, z: NDArray[np.float32]) -> None:
        """What the first image says of the size of the scene."""
        finite = z[np.isfinite(z)]
        middle, far = np.percentile(finite, (50, 95)) if len(finite) else (1.0, 10.0)
        self._distance_m[root] = float(middle)
        colors = self._colors
        self._ranges[root] = (colors.min, colors.max) if colors else (0.0, 1.25 * float(far))

    @property
    def _colormap(self) -> str:
        return _COLORMAPS.get(self._colors.colormap, 'turbo') if self._colors else 'turbo'

    def _depth(self, root: str, z: NDArray[np.float32]) -> Any:
        return self._rr.DepthImage(
            np.ascontiguousarray(z),
            meter=1.0,
            colormap=self._colormap,
            depth_range=self._ranges[root],
        )

    def _points(self, points: NDArray[np.float32], *, colored: bool) -> Any:
        points = np.ascontiguousarray(points[np.isfinite(points[:, 2])])
        colors: Any = None
        if colored:
            colors = points.view(np.uint8).reshape(len(points), 16)[:, 14:11:-1]
        return self._rr.Points3D(
            points[:, :3], colors=colors, radii=self._rr.Radius.ui_points(1.5)
        )

    def _anchors(self, root: str, anchors: Anchors) -> Any:
        near, far = self._ranges.get(root, (0.0, 10.0))
        share = np.clip((anchors.z - near) / max(far - near, 1e-6), 0, 1)
        levels = (255 * share).astype(np.uint8)[:, None]
        bgr = cv2.applyColorMap(levels, getattr(cv2, f'COLORMAP_{self._colormap.upper()}'))
        return self._rr.Points2D(
            np.stack([anchors.u, anchors.v], 1) + 0.5,
            colors=np.asarray(bgr)[:, 0, ::-1],
            radii=self._rr.Radius.ui_points(1.5),
            draw_order=50.0,
        )

    def _lay_out(self, timeline: str) -> None:
        """Send the layout, again where there is more to show than before."""
        content = {root: tuple(groups) for root, groups in self._groups.items()}
        if content != self._has_layout:
            self._has_layout = content
            blueprint = layout.of(content, self._distance_m, timeline, follow=self._follow)
            self._rr.send_blueprint(blueprint, recording=self._recording)


def _of_scale(scale: tuple[float, float] | None) -> dict[str, float]:
    """Figures of a scale with its relative standard deviation [%]."""
    if scale is None:
        return {}
    value, percent = scale
    deviation = value * percent / 100
    return {
        'scale/value': value,
        'scale/lower': value - deviation,
        'scale/upper': value + deviation,
        'spread/percent': percent,
    }


def _jpeg(rr: Any, rgb: NDArray[np.uint8]) -> Any:
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    _, file = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return rr.EncodedImage(contents=file.tobytes(), media_type='image/jpeg', draw_order=-10.0)


def _open(rr: Any, recording: Any, place: Place) -> str:
    """Connect a recording with the place; what a person must know of that, '' for nothing.

    Raises:
        ConfigError: it is not possible, with the remedy.
    """
    if place.kind == 'save':
        try:
            recording.save(place.target)
        except RuntimeError as error:
            raise ConfigError(f'--save: {error}; choose another path') from error
        return ''
    if place.kind == 'connect':
        _check_listener(place.target)
        recording.connect_grpc(place.target)
        return ''
    if place.kind == 'web':
        return _serve(rr, recording, place.memory)
    _spawn(rr, recording, place.memory)
    recording.connect_grpc(f'rerun+http://127.0.0.1:{GRPC_PORT}/proxy')
    return ''


def _check_listener(url: str) -> None:
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port or GRPC_PORT
    except ValueError:  # a port that is no number
        host = None
    if host is None or not parts.scheme.startswith('rerun'):
        raise ConfigError(f'--connect: {url!r} is no URL of a viewer; one is {URL}')
    if not _listens(host, port):
        raise ConfigError(
            f'--connect: nothing listens at {host}:{port}; start the viewer there: rerun'
        )


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), 2.0):
            return True
    except OSError:
        return False


def has_screen() -> bool:
    """Whether a window can be opened here."""
    if sys.platform != 'linux':
        return True
    return bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))


def _spawn(rr: Any, recording: Any, memory: str) -> None:
    """Open the viewer's window, unless there is one.

    Raises:
        ConfigError: there is no screen, or the viewer does not start.
    """
    other = 'show it in a browser (--web) or write a file for another machine (--save x.rrd)'
    if _listens('127.0.0.1', GRPC_PORT):
        return
    if not has_screen():
        raise ConfigError(f'there is no screen (DISPLAY is not set): {other}')
    try:
        rr.spawn(
            recording=recording,  # without one, Rerun takes itself for disabled
            port=GRPC_PORT,
            connect=False,
            memory_limit=memory,
            hide_welcome_screen=True,
            executable_path=_program(),
        )
    except RuntimeError as error:
        raise ConfigError(f"Rerun's viewer does not start ({error}): {other}") from error
    end_s = time.monotonic() + WINDOW_PATIENCE_S
    while not _listens('127.0.0.1', GRPC_PORT):
        if time.monotonic() > end_s:
            raise ConfigError(
                f"Rerun's viewer opened no window within {WINDOW_PATIENCE_S:g} s: {other}"
            )
        time.sleep(0.1)


def _program() -> str | None:
    """The viewer that came with the library, which need not be in PATH; None if there is none."""
    found = importlib.util.find_spec('rerun_cli')
    path = Path(found.origin).with_name('rerun') if found and found.origin else None
    return str(path) if path and path.is_file() else None


def _serve(rr: Any, recording: Any, memory: str) -> str:
    """Serve to browsers; the address."""
    grpc_port, web_port = _free(GRPC_PORT), _free(WEB_PORT)
    url = recording.serve_grpc(grpc_port=grpc_port, server_memory_limit=memory)
    rr.serve_web_viewer(web_port=web_port, open_browser=False, connect_to=url)
    return f'http://127.0.0.1:{web_port}/?url={quote(url, safe="")}'


def _free(port: int) -> int:
    """The port, or another one where it is in use."""
    for wanted in (port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(('', wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigError(f'port {port} is in use, and no other is free')
