"""How people ask: names, their synonyms and general words, and which words training never sees.

The words of asking ("search for the ...") are left out where text becomes a vector
(`aam_edge.engine.wording`), so names alone are enough here.
"""

from __future__ import annotations

import numpy as np

_COCO = """
person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,
parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,
handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,
surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,
broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,
mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,
teddy bear,hair drier,toothbrush
"""
COCO_NAMES = tuple(_COCO.replace("\n", "").split(","))
"""COCO's 80 names, in its order."""
SYNONYMS = {
    "person": ("people", "man", "woman", "somebody", "pedestrian", "child", "face"),
    "couch": ("settee",),
    "tv": ("tv set", "screen", "monitor"),
    "cell phone": ("phone", "mobile phone", "cellphone"),
    "potted plant": ("plant", "flower pot", "pot plant"),
    "cup": ("coffee cup", "tea cup"),
    "bicycle": ("cycle",),
    "airplane": ("aeroplane", "aircraft"),
    "motorcycle": ("scooter",),
    "refrigerator": ("freezer",),
    "dining table": ("table",),
    "car": ("parked car", "taxi"),
    "truck": ("lorry",),
    "bottle": ("water bottle", "flask"),
    "wine glass": ("glass",),
    "clock": ("wall clock", "watch"),
    "sports ball": ("ball", "football"),
    "laptop": ("notebook computer", "computer"),
    "remote": ("remote control",),
    "boat": ("vessel", "rowing boat"),
    "cat": ("pussycat",),
    "dog": ("hound",),
    "horse": ("pony",),
    "handbag": ("bag",),
    "backpack": ("rucksack",),
    "suitcase": ("luggage",),
    "book": ("books", "notebook"),
    "hair drier": ("hair dryer",),
    "donut": ("pastry",),
    "sink": ("washbasin",),
    "oven": ("stove",),
    "vase": ("flower vase",),
    "teddy bear": ("plush toy",),
    "tie": ("necktie",),
    "bird": ("pigeon",),
    "traffic light": ("traffic lights", "signal light"),
    "skis": ("ski",),
}
GENERAL = {
    "animal": "bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe",
    "vehicle": "bicycle,car,motorcycle,airplane,bus,train,truck,boat",
    "furniture": "chair,couch,bed,dining table,bench",
    "food": "banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake",
    "fruit": "banana,apple,orange",
    "tableware": "wine glass,cup,fork,knife,spoon,bowl",
    "cutlery": "fork,knife,spoon",
    "container": "bottle,wine glass,cup,bowl,vase",
    "device": "tv,laptop,mouse,remote,keyboard,cell phone",
    "household appliance": "microwave,oven,toaster,refrigerator,hair drier",
    "luggage and bags": "backpack,handbag,suitcase",
    "sports equipment": "frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,"
    "skateboard,surfboard,tennis racket",
    "street furniture": "traffic light,fire hydrant,stop sign,parking meter,bench",
}
"""General words and the names below them."""
KEPT_OUT = {
    "mug": "cup", "sofa": "couch", "television": "tv", "bike": "bicycle", "plane": "airplane",
    "human": "person", "fridge": "refrigerator", "motorbike": "motorcycle", "automobile": "car",
    "puppy": "dog", "kitten": "cat", "purse": "handbag", "ship": "boat", "doughnut": "donut",
    "smartphone": "cell phone", "houseplant": "potted plant", "desk": "dining table",
}  # fmt: skip
"""Synonyms that no prompt in training holds, and what they mean: they test meaning."""
NAMES = (*COCO_NAMES, *GENERAL)
"""What every training picture is asked for."""
FREE_VIEWING = (
    "free viewing",
    "free viewing",
    "look around",
    "look at the scene",
    "view the picture freely",
    "where do people look",
    "look freely",
)
TASKS = {
    "count the people": ("count the people", "how many people are there", "counting people"),
    "find the emotion in the picture": (
        "find the emotion in the picture",
        "what emotion is shown",
        "what do the people feel",
    ),
    "find the occasion, or what the people are doing": (
        "find the occasion, or what the people are doing",
        "what are the people doing",
        "what is the occasion",
    ),
}
"""Instructions of the task set, reworded."""
KINDS = ("red", "blue", "big", "small", "old", "new", "nearest", "empty", "wooden", "white")


def children(general: str) -> tuple[str, ...]:
    """The names below a general word."""
    return tuple(GENERAL[general].split(","))


def word_for(name: str, rng: np.random.Generator) -> str:
    """One word for a thing, at times another of its names, at times with an adjective."""
    word = str(rng.choice((name, name, *SYNONYMS.get(name, ()))))
    return f"{rng.choice(KINDS)} {word}" if rng.random() < 0.1 else word


def free_viewing(rng: np.random.Generator) -> str:
    """One way to ask for free viewing."""
    return str(rng.choice(FREE_VIEWING))


def instruction(task: str, rng: np.random.Generator) -> str:
    """One wording of a task; other texts stay as they are."""
    return str(rng.choice(TASKS.get(task, (task,))))
