"""Films rendered by our own code, with known truth for every frame, and their encoding into files.

    film = rotating_tank(width=320, height=240, frames=50, rpm=20, stamp=True)
    film.render(7)            # (240, 320, 3) uint8 BGR
    film.truth(7).angle_deg
    encode(film, Path("tank.mp4"), codec="hevc", bframes=2)

Rendering on a clock, as a source of frames, is the business of `frameloom.testing.synthetic`.
"""

from frameloom.testing._counter import Counter, CounterTruth
from frameloom.testing._demo import DemoProgress, demo_films
from frameloom.testing._encode import CodecName, Progress, encode
from frameloom.testing._film import Box, Film, FrameTruth, Picture
from frameloom.testing._lights import ColouredLights, Light, LightsTruth
from frameloom.testing._stamp import MODULUS as COUNTER_MODULUS
from frameloom.testing._stamp import read_counter
from frameloom.testing._stamp import regions as stamp_regions
from frameloom.testing._tank import RotatingTank, TankTruth
from frameloom.testing._walkers import DEFAULT_WALKS, Walk, WalkersTruth, WalkingFigures

rotating_tank = RotatingTank
walking_figures = WalkingFigures
coloured_lights = ColouredLights
counter = Counter

__all__ = [
    "COUNTER_MODULUS",
    "DEFAULT_WALKS",
    "Box",
    "CodecName",
    "ColouredLights",
    "Counter",
    "CounterTruth",
    "DemoProgress",
    "Film",
    "FrameTruth",
    "Light",
    "LightsTruth",
    "Picture",
    "Progress",
    "RotatingTank",
    "TankTruth",
    "Walk",
    "WalkersTruth",
    "WalkingFigures",
    "coloured_lights",
    "counter",
    "demo_films",
    "encode",
    "read_counter",
    "rotating_tank",
    "stamp_regions",
    "walking_figures",
]
