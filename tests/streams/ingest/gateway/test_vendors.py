"""What is particular to each vendor's protocol."""

from __future__ import annotations

import base64
import json
import tomllib

import av
import msgspec
import numpy as np
import pytest

from streams.ingest.gateway import audiohook_signature, g711, twilio
from streams.ingest.gateway.audiohook import PROBE_ID, AudioHookCodec
from streams.ingest.gateway.audiosocket import RATES, AudioSocketCodec
from streams.ingest.gateway.calls import Audio, CallStarted, Noted, Refused, Reply
from streams.ingest.gateway.freeswitch import FreeSwitchCodec
from streams.ingest.gateway.settings import CallDefaults, GatewaySettings
from streams.ingest.gateway.twilio import TwilioCodec
from streams.records import AudioChunk, Notice, SessionStart
from tests.streams.ingest.gateway.driving import counters_of, ends_of, events_of, faults_of, pcm_of, records_of, tone
from tests.streams.ingest.gateway.scripts import (
    IN,
    OUT,
    UUID_BYTES,
    HookClient,
    expand,
    freeswitch_call,
    hook_call,
    hook_open,
    interleave,
    mu_law_bytes,
    socket_call,
    socket_record,
    twilio_call,
    twilio_media,
    twilio_message,
    twilio_start,
)

WITHOUT_HOST = " ".join(f'"{name}"' for name in audiohook_signature.REQUIRED)


def started(events: list[object]) -> CallStarted:
    return next(event for event in events if isinstance(event, CallStarted))


def replies(events: list[object]) -> list[dict[str, object]]:
    return [json.loads(event.data) for event in events if isinstance(event, Reply)]


class TestG711:
    @pytest.mark.parametrize(("codec", "table"), [("pcm_mulaw", g711.MU_LAW), ("pcm_alaw", g711.A_LAW)])
    def test_every_code_expands_as_ffmpeg_expands_it(self, codec: str, table: np.ndarray) -> None:
        context = av.CodecContext.create(codec, "r")
        context.sample_rate, context.layout = 8000, "mono"
        (frame,) = context.decode(av.Packet(bytes(range(256))))
        assert np.array_equal(frame.to_ndarray().ravel(), table)

    def test_known_codes(self) -> None:
        assert g711.MU_LAW[[0x00, 0x80, 0x7F, 0xFF]].tolist() == [-32124, 32124, 0, 0]
        assert g711.A_LAW[[0x2A, 0xAA, 0x55, 0xD5]].tolist() == [-32256, 32256, -8, 8]


class TestTwilio:
    def test_roles_come_from_the_operator_never_from_the_track(self) -> None:
        assert [p.role for p in started(events_of(TwilioCodec(), twilio_call([160]))).participants] == ["unknown", "unknown"]
        declared = events_of(TwilioCodec(), [twilio_start(role_inbound="customer", role_outbound="agent", notice="given", language="pt-BR")])
        assert [p.role for p in started(declared).participants] == ["customer", "employee"]
        assert started(declared).notice and started(declared).language == "pt"
        configured = events_of(TwilioCodec(CallDefaults({"inbound": "customer"}, Notice(True))), [twilio_start()])
        assert [p.role for p in started(configured).participants] == ["customer", "unknown"]

    def test_without_notice_nobody_is_emotion_analysed(self) -> None:
        (start, *_) = records_of(events_of(TwilioCodec(), [twilio_start(role_inbound="customer")]))
        assert isinstance(start, SessionStart) and start.live
        assert not any(decision.emotion for decision in start.decisions.values())

    def test_a_misspelt_role_is_unknown(self) -> None:
        events = events_of(TwilioCodec(), [twilio_start(role_inbound="custommer")])
        assert started(events).participants[0].role == "unknown"

    def test_a_lost_chunk_leaves_a_gap_of_its_length(self) -> None:
        frames = [IN[i : i + 160] for i in range(0, 800, 160)]
        media = [twilio_media(i + 2, "inbound", i + 1, i * 20, frame) for i, frame in enumerate(frames) if i != 2]
        events = events_of(TwilioCodec(), [twilio_start(), *media])
        silence = bytes(2 * 160)
        assert pcm_of(records_of(events))["audio/0"] == expand(IN[:320]) + silence + expand(IN[480:800])
        assert counters_of(events)["frames_lost"] == 1

    def test_jitter_of_the_timestamps_is_no_gap(self) -> None:
        frames = [IN[i : i + 160] for i in range(0, 1600, 160)]
        jitter = [0, 7, -9, 30, 12, -14, 0, 25, 3, 0]
        media = [twilio_media(i + 2, "inbound", i + 1, max(0, i * 20 + jitter[i]), frame) for i, frame in enumerate(frames)]
        assert pcm_of(records_of(events_of(TwilioCodec(), [twilio_start(), *media])))["audio/0"] == expand(IN[:1600])

    def test_a_timestamp_set_to_another_year_invents_no_silence(self) -> None:
        times = [0, 10**12, 10**12 + 20]
        media = [twilio_media(i + 2, "inbound", i + 1, at, IN[160 * i : 160 * (i + 1)]) for i, at in enumerate(times)]
        events = events_of(TwilioCodec(), [twilio_start(), *media])
        assert pcm_of(records_of(events))["audio/0"] == expand(IN[:480])
        assert [e.code for e in events if isinstance(e, Refused)] == ["clock_jump"]

    def test_repeated_chunks_are_refused_and_the_call_goes_on(self) -> None:
        media = [twilio_media(2, "inbound", 1, 0, IN[:160]), twilio_media(2, "inbound", 1, 0, IN[:160]), twilio_media(3, "inbound", 2, 20, IN[160:320])]
        events = events_of(TwilioCodec(), [twilio_start(), *media])
        assert pcm_of(records_of(events))["audio/0"] == expand(IN[:320])
        assert [e.code for e in events if isinstance(e, Refused)] == ["duplicate"]

    def test_keypad_digits_are_never_kept(self) -> None:
        events = events_of(TwilioCodec(), [twilio_start(), twilio_message("dtmf", 2, dtmf={"track": "inbound_track", "digit": "7"})])
        assert "7" not in repr([record for record in records_of(events)][1:])

    def test_stop_ends_the_call_and_nothing_follows(self) -> None:
        codec = TwilioCodec()
        events = events_of(codec, [*twilio_call([160] * 13), twilio_media(99, "inbound", 99, 99, IN)])
        assert ends_of(records_of(events)) == ["completed"] and codec.done

    def test_the_signature_of_the_upgrade_request(self) -> None:
        # HMAC-SHA1 by hand with another library's interface.
        from hashlib import sha1
        key, url = b"12345", "wss://example.org/v1/twilio"
        block = key.ljust(64, b"\0")
        inner = sha1(bytes(b ^ 0x36 for b in block) + url.encode()).digest()
        signature = base64.b64encode(sha1(bytes(b ^ 0x5C for b in block) + inner).digest()).decode()
        assert twilio.signed(url, "12345", signature)
        assert not twilio.signed(url + "x", "12345", signature) and not twilio.signed(url, "12345", "")


class TestAudioHook:
    def test_the_customer_is_left_and_the_agent_right(self) -> None:
        events = events_of(AudioHookCodec(), hook_call([160] * 20))
        assert [(p.id, p.role, p.channel) for p in started(events).participants] == [("external", "customer", "audio/0"), ("internal", "employee", "audio/1")]
        assert started(events).language == "en"

    def test_the_answers(self) -> None:
        answers = replies(events_of(AudioHookCodec(), hook_call([160] * 20)))
        assert [a["type"] for a in answers] == ["opened", "pong", "closed"]
        assert [a["seq"] for a in answers] == [1, 2, 3] and [a["clientseq"] for a in answers] == [1, 2, 3]
        assert all(a["version"] == "2" and a["id"] for a in answers)
        assert answers[0]["parameters"]["media"] == [{"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000}]  # type: ignore[index]

    def test_opened_comes_before_anything_else(self) -> None:
        events = AudioHookCodec().feed(hook_open(HookClient()))
        assert isinstance(events[0], Reply) and isinstance(events[1], CallStarted)

    def test_no_telephone_number_is_kept(self) -> None:
        assert "+1555" not in repr(records_of(events_of(AudioHookCodec(), hook_call([160] * 20))))

    def test_linear_audio_is_little_endian(self) -> None:
        left, right = tone(500), tone(500, hz=100)
        client = HookClient()
        events = events_of(AudioHookCodec(), [hook_open(client, "L16"), interleave(left, right, width=2), client("close", reason="end")])
        assert pcm_of(records_of(events)) == {"audio/0": left, "audio/1": right}

    def test_a_probe_is_answered_and_leaves_nothing(self) -> None:
        client = HookClient()
        opening = hook_open(client, conversation=PROBE_ID, participant=PROBE_ID)
        events = events_of(AudioHookCodec(), [opening, client("ping"), b"\x00" * 320, client("close", reason="end")])
        assert [a["type"] for a in replies(events)] == ["opened", "pong", "closed"]
        assert records_of(events) == []

    def test_discarded_audio_moves_the_position(self) -> None:
        client = HookClient()
        stereo = interleave(IN[:800], OUT[:800], width=1)
        events = events_of(AudioHookCodec(), [
            hook_open(client), stereo, client("discarded", 0.1, start="PT0.1S", discarded="PT0.25S"), stereo, client("close", 0.45, reason="end"),
        ])
        pcm = pcm_of(records_of(events))["audio/0"]
        assert pcm == expand(IN[:800]) + bytes(2 * 2000) + expand(IN[:800])
        assert len(pcm) // 2 == round(0.45 * 8000)

    def test_many_discards_do_not_add_up_their_roundings(self) -> None:
        client, position = HookClient(), 0.0
        messages: list[str | bytes] = [hook_open(client)]
        for _ in range(50):
            messages += [interleave(IN[:80], OUT[:80], width=1), client("discarded", start=f"PT{position + 0.01:.5f}S", discarded="PT0.00333S")]
            position += 0.01333
        messages += [interleave(IN[:80], OUT[:80], width=1), client("close", reason="end")]
        pcm = pcm_of(records_of(events_of(AudioHookCodec(), messages)))["audio/0"]
        assert abs(len(pcm) // 2 - (position + 0.01) * 8000) <= 1

    def test_nothing_is_kept_in_a_pause_and_the_clock_runs_on(self) -> None:
        client = HookClient()
        said, secret = interleave(IN[:800], OUT[:800], width=1), interleave(IN[800:1600], OUT[800:1600], width=1)
        events = events_of(AudioHookCodec(), [
            hook_open(client), said, client("paused"), secret, client("resumed", start="PT0.1S", discarded="PT1S"), said, client("close", reason="end"),
        ])
        assert pcm_of(records_of(events))["audio/0"] == expand(IN[:800]) + bytes(2 * 8000) + expand(IN[:800])

    def test_what_was_said_before_a_pause_is_handed_on_at_once(self) -> None:
        client = HookClient()
        events = events_of(AudioHookCodec(), [hook_open(client), interleave(IN[:100], OUT[:100], width=1), client("paused")], close=False)
        assert sum(isinstance(r, AudioChunk) for r in records_of(events)) == 2

    @pytest.mark.parametrize("fault", ["seq", "id", "serverseq", "version", "duration"])
    def test_a_broken_envelope_is_answered_by_disconnect_and_the_farewell_still_works(self, fault: str) -> None:
        client = HookClient()
        codec = AudioHookCodec()
        codec.feed(hook_open(client))
        bad = json.loads(client("discarded", start="PT0S", discarded="PT1S"))
        bad |= {
            "seq": {"seq": 7}, "id": {"id": "other"}, "serverseq": {"serverseq": 9}, "version": {"version": "3"},
            "duration": {"parameters": {"start": "1s", "discarded": "PT0S"}},
        }[fault]
        events = codec.feed(json.dumps(bad))
        assert [(a["type"], a["parameters"]["reason"]) for a in replies(events)] == [("disconnect", "error")]  # type: ignore[index]
        assert len(faults_of(events)) == 1
        assert faults_of(codec.feed("more nonsense")) == [] and not codec.done
        client.seq = 2
        assert [a["type"] for a in replies(codec.feed(client("close", reason="disconnect")))] == ["closed"] and codec.done

    def test_a_wrong_signature_is_reported_inside_the_protocol(self) -> None:
        events = AudioHookCodec(authorized=False).feed(hook_open(HookClient()))
        assert [(a["type"], a["parameters"]["reason"]) for a in replies(events)] == [("disconnect", "unauthorized")]  # type: ignore[index]
        assert not any(isinstance(event, CallStarted) for event in events)

    def test_messages_of_the_future_are_ignored(self) -> None:
        client = HookClient()
        messages = [hook_open(client), client("hologram", x=1), client("update", language="de-DE"), client("close", reason="end")]
        events = events_of(AudioHookCodec(), messages)
        assert not faults_of(events) and Noted("unknown_messages") in events
        assert [a["type"] for a in replies(events)] == ["opened", "updated", "closed"]


class TestAudioHookSignature:
    SECRET = base64.b64encode(b"a secret of the integration").decode()
    NOW = 1_700_000_000.0

    def request(self, **changes: str) -> dict[str, str]:
        headers = {
            "audiohook-organization-id": "o1", "audiohook-session-id": "s1", "audiohook-correlation-id": "c1", "x-api-key": "key-1",
        }
        names = [*audiohook_signature.REQUIRED, "@authority"]
        covered = " ".join(f'"{name}"' for name in names)
        usual = f'({covered});keyid="key-1";nonce="0123456789012345678901";alg="hmac-sha256";created=1699999999;expires=1700000009'
        parameters = changes.get("parameters", usual)
        values = {**headers, "@request-target": "/v1/audiohook?a=1", "@authority": "gateway.example.org"}
        base = audiohook_signature.signature_base(names, values, parameters)
        import hmac
        signature = base64.b64encode(hmac.digest(base64.b64decode(self.SECRET), base.encode(), "sha256")).decode()
        changed = {name: value for name, value in changes.items() if name != "parameters"}
        return {**headers, "signature-input": f"sig1={parameters}", "signature": f"sig1=:{signature}:", **changed}

    def check(self, headers: dict[str, str], *, now: float = NOW, authority: str = "Gateway.example.org") -> str | None:
        return audiohook_signature.problem(headers, target="/v1/audiohook?a=1", authority=authority, keys={"key-1": self.SECRET, "key-2": ""}, now=now)

    def test_the_published_example_of_hmac_sha256(self) -> None:
        """RFC 9421, appendix B.2.5."""
        import hmac
        secret = base64.b64decode("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")
        values = {"date": "Tue, 20 Apr 2021 02:07:55 GMT", "@authority": "example.com", "content-type": "application/json"}
        parameters = '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
        base = audiohook_signature.signature_base(["date", "@authority", "content-type"], values, parameters)
        assert base64.b64encode(hmac.digest(secret, base.encode(), "sha256")).decode() == "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="

    def test_the_published_example_of_audiohook(self) -> None:
        covered = '("@request-target" "host" "audiohook-organization-id" "audiohook-session-id" "audiohook-correlation-id" "x-api-key")'
        key = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"
        headers = {
            "audiohook-organization-id": "d7934305-0972-4844-938e-9060eef73d05",
            "audiohook-session-id": "30b0e395-84d3-4570-ac13-9a62d8f514c0",
            "audiohook-correlation-id": "e160e428-53e2-487c-977d-96989bf5c99d",
            "x-api-key": key,
            "signature": "sig1=:zupMJUMfd/kMuvKc5zhRyfJPE3jTROuz1S1hn8SCTpE=:",
            "signature-input": f'sig1={covered};keyid="{key}";nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";alg="hmac-sha256";created=1641013200;expires=3282026430',
        }
        keys = {key: "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="}
        target, authority = "/api/v1/voicebiometrics/ws", "audiohook.example.com"
        assert audiohook_signature.problem(headers, target=target, authority=authority, keys=keys, now=1641013205) is None
        assert audiohook_signature.problem(headers, target=target + "2", authority=authority, keys=keys, now=1641013205)

    def test_a_signed_request_is_accepted(self) -> None:
        assert self.check(self.request()) is None
        assert self.check({"x-api-key": "key-2"}) is None  # a key without a secret

    @pytest.mark.parametrize("change", [
        {"x-api-key": "key-9"}, {"audiohook-session-id": "s2"}, {"signature": "sig1=:AAAA:"}, {"signature": "sig1=:%%:"}, {"signature-input": ""},
        {"parameters": '("@authority");keyid="key-1";nonce="0123456789012345678901";created=1699999999'},
        {"parameters": f'({WITHOUT_HOST});keyid="key-1";nonce="0123456789012345678901";created=1699999999'},
    ])
    def test_a_changed_request_is_not(self, change: dict[str, str]) -> None:
        assert self.check(self.request(**change))

    def test_an_old_request_and_another_host_are_not(self) -> None:
        assert self.check(self.request(), now=self.NOW + 60)
        assert self.check(self.request(), authority="elsewhere.example.org")


class TestSettings:
    def test_what_an_operator_says_lies_over_what_the_protocol_says(self) -> None:
        text = """
            [vendors.audiohook]
            notice = { given = true, method = "announcement" }
            [vendors.twilio]
            roles = { inbound = "customer" }
        """
        settings = msgspec.convert(tomllib.loads(text), GatewaySettings)
        assert settings.defaults("audiohook").roles == {"external": "customer", "internal": "employee"}
        assert settings.defaults("audiohook").notice == Notice(True, "announcement")
        assert settings.defaults("twilio").roles == {"inbound": "customer"} and settings.defaults("freeswitch") == CallDefaults()

    @pytest.mark.parametrize("text", ["tokn = 'x'", "[vendors.twillio]", "[vendors.twilio]\nrolls = {}"])
    def test_unknown_keys_are_refused(self, text: str) -> None:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(tomllib.loads(text), GatewaySettings)


class TestAudioSocket:
    @pytest.mark.parametrize(("kind", "rate"), RATES.items())
    def test_every_published_rate(self, kind: int, rate: int) -> None:
        pcm = tone(rate // 50)
        events = events_of(AudioSocketCodec(), [socket_record(1, UUID_BYTES) + socket_record(kind, pcm) + socket_record(0, b"")])
        (audio,) = [event for event in events if isinstance(event, Audio)]
        assert (audio.rate, audio.pcm) == (rate, pcm)
        assert ends_of(records_of(events)) == ["completed"]

    def test_the_uuid_is_the_session(self) -> None:
        assert started(events_of(AudioSocketCodec(), socket_call([5] * 1000))).session == "00010203-0405-0607-0809-0a0b0c0d0e0f"

    def test_an_error_record_ends_the_call_and_says_which(self) -> None:
        events = events_of(AudioSocketCodec(), [socket_record(1, UUID_BYTES) + socket_record(0xFF, b"\x04")])
        assert "memory" in faults_of(events)[0].what and ends_of(records_of(events)) == ["error"]

    def test_audio_before_the_uuid_is_an_error(self) -> None:
        assert len(faults_of(events_of(AudioSocketCodec(), [socket_record(0x10, bytes(320))]))) == 1

    def test_another_protocol_is_noticed_at_its_first_bytes(self) -> None:
        assert len(faults_of(AudioSocketCodec().feed(b"GET / HTTP/1.1\r\n"))) == 1

    def test_a_change_of_the_rate_is_an_error(self) -> None:
        stream = socket_record(1, UUID_BYTES) + socket_record(0x10, bytes(320)) + socket_record(0x12, bytes(640))
        assert [fault.code for fault in faults_of(events_of(AudioSocketCodec(), [stream]))] == ["rate_changed"]

    def test_a_record_cut_off_by_the_end_of_the_connection(self) -> None:
        stream = socket_record(1, UUID_BYTES) + socket_record(0x10, bytes(320))[:100]
        assert ends_of(records_of(events_of(AudioSocketCodec(), [stream]))) == ["interrupted"]


class TestFreeSwitch:
    def test_metadata_in_json_say_who_is_who(self) -> None:
        event = started(events_of(FreeSwitchCodec(rate=8000, channels=2), freeswitch_call([160])))
        assert [(p.id, p.role) for p in event.participants] == [("caller", "customer"), ("callee", "employee")]
        assert (event.session, event.language) == ("fs-1", "de") and event.notice

    def test_metadata_need_not_be_json(self) -> None:
        event = started(events_of(FreeSwitchCodec(), ["queue=7;x", tone(100)]))
        assert event.attributes == {"metadata": "queue=7;x"} and event.participants[0].role == "unknown"

    def test_audio_without_metadata_is_a_call_too(self) -> None:
        pcm = tone(333)
        assert pcm_of(records_of(events_of(FreeSwitchCodec(rate=16000), [pcm[:111], pcm[111:]]))) == {"audio/0": pcm}

    def test_the_metadata_may_state_the_format(self) -> None:
        events = events_of(FreeSwitchCodec(), ['{"rate": 16000, "channels": 2}', bytes(400)])
        assert len(started(events).audio) == 2 and {e.rate for e in events if isinstance(e, Audio)} == {16000}
        assert [f.code for f in faults_of(events_of(FreeSwitchCodec(), ['{"rate": 12, "channels": 1}']))] == ["unknown_codec"]


def test_mu_law_noise_is_expanded_alike_on_all_paths() -> None:
    noise = mu_law_bytes(4096, 9)
    assert g711.mu_law(noise) == expand(noise)
