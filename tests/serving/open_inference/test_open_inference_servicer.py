"""Clients of Triton and KServe get the numbers of holdfast.v1, and never break the server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from artifact_builder import AS_OF_US, running_server
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st
from open_inference_requests import arrays_of, infer_request, tensors_of

import holdfast
from builders import DAY, random_histories, small_schema
from holdfast.histories import Histories
from holdfast.inference import open_inference_pb2 as pb
from holdfast.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from holdfast.results import OBSERVED_NAMES
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub
from holdfast.wire import write_request
from serving.artifact import Artifact
from serving.server import ScoringServer
from serving.settings import Settings

WAIT_SECONDS = 30
"""Long enough for any machine; only a broken test waits for it."""
OUTPUTS = (
    "churn_probability",
    "churn_survival",
    "spend_expected",
    "spend_quantiles",
    "orders_expected",
    "embedding",
)


@pytest.fixture(scope="module")
def channel(artifact_folder: Path) -> Iterator[grpc.Channel]:
    """Return a channel to a running server."""
    with (
        running_server(artifact_folder, max_customers=50) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> GRPCInferenceServiceStub:
    """Return a stub of the protocol."""
    return GRPCInferenceServiceStub(channel)


def histories(seed: int = 0, num_customers: int = 8) -> Histories:
    """Return random customers."""
    return random_histories(np.random.default_rng(seed), num_customers, max_length=20)


def by_holdfast(channel: grpc.Channel, asked: Histories) -> dict[str, Any]:
    """Ask holdfast.v1 about the same customers, under the names of the tensors."""
    ids = [str(index) for index in range(asked.num_customers)]
    request = write_request(asked, ids, as_of_us=AS_OF_US, schema=small_schema())
    request.include_survival = request.include_embedding = True
    entries = ScoringServiceStub(channel).Score(request, timeout=WAIT_SECONDS).customers
    churn, spend, orders = zip(*(entry.prediction.targets for entry in entries), strict=True)
    return {
        "churn_probability": [target.time_to_event.probability for target in churn],
        "churn_survival": [target.time_to_event.survival for target in churn],
        "spend_expected": [target.amount.expected for target in spend],
        "spend_quantiles": [target.amount.quantiles for target in spend],
        "orders_expected": [target.count.expected for target in orders],
        "embedding": [entry.prediction.embedding for entry in entries],
        **{name: [getattr(entry.observed, name) for entry in entries] for name in OBSERVED_NAMES},
    }


@pytest.mark.parametrize("is_raw", [True, False])
def test_the_numbers_are_those_of_holdfast_v1(
    channel: grpc.Channel, stub: GRPCInferenceServiceStub, is_raw: bool
) -> None:
    """Typed and raw, predictions to 1e-6 and counts exactly, in the order of the customers."""
    asked = histories(num_customers=30)
    response = stub.ModelInfer(infer_request(tensors_of(asked), is_raw=is_raw), timeout=WAIT_SECONDS)
    assert (response.model_name, response.model_version, response.id) == ("small", "1", "17")
    assert bool(response.raw_output_contents) == is_raw
    found = arrays_of(response)
    for name, values in by_holdfast(channel, asked).items():
        np.testing.assert_allclose(found[name], np.array(values), rtol=1e-6, atol=1e-6, err_msg=name)
    assert found["error"] == [b""] * 30
    assert found["is_eligible"].any()


def test_metadata_describes_exactly_what_is_taken_and_given(stub: GRPCInferenceServiceStub) -> None:
    """Every tensor of a full request and of its answer, with datatype and shape."""
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="small"))
    assert (metadata.name, metadata.versions, metadata.platform) == ("small", ["1"], "holdfast_onnx")
    request = infer_request(tensors_of(histories()))
    taken = {tensor.name: (tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs}
    assert taken == {tensor.name: (tensor.datatype, [-1]) for tensor in request.inputs}
    given_out = {tensor.name: (tensor.datatype, list(tensor.shape)) for tensor in metadata.outputs}
    response = stub.ModelInfer(request, timeout=WAIT_SECONDS)
    assert [output.name for output in response.outputs] == list(given_out)
    for output in response.outputs:
        assert given_out[output.name] == (output.datatype, [-1, *output.shape[1:]])


def test_outputs_are_chosen_by_name(stub: GRPCInferenceServiceStub) -> None:
    """In the order asked, none of the others, even where the graph has nothing to compute."""
    tensors = tensors_of(histories())
    everything = arrays_of(stub.ModelInfer(infer_request(tensors), timeout=WAIT_SECONDS))
    for names in (("spend_expected", "churn_probability"), ("error",), ("num_used", "is_eligible")):
        found = arrays_of(stub.ModelInfer(infer_request(tensors, outputs=names), timeout=WAIT_SECONDS))
        assert tuple(found) == names
        for name in names:
            np.testing.assert_array_equal(found[name], everything[name])


def test_every_customer_may_have_a_cutoff_of_its_own(stub: GRPCInferenceServiceStub) -> None:
    """The same customers at two times in one request are those of two requests."""
    asked = histories()
    times = AS_OF_US - np.arange(8) * 10 * DAY
    found = arrays_of(stub.ModelInfer(infer_request(tensors_of(asked, as_of_us=times)), timeout=WAIT_SECONDS))
    for row, as_of_us in enumerate(times):
        alone = tensors_of(asked.take(np.array([row])), as_of_us=as_of_us)
        one = arrays_of(stub.ModelInfer(infer_request(alone), timeout=WAIT_SECONDS))
        for name in OUTPUTS:
            np.testing.assert_allclose(found[name][row], one[name][0], rtol=1e-5, atol=1e-6)


def test_one_bad_customer_does_not_fail_the_rest(stub: GRPCInferenceServiceStub) -> None:
    """It has NaN, no counts and a reason that names the tensor; the others get what they get without it."""
    asked = histories()
    good = arrays_of(stub.ModelInfer(infer_request(tensors_of(asked)), timeout=WAIT_SECONDS))
    tensors = tensors_of(asked)
    amount = asked.numeric["amount"].copy()
    amount[asked.offsets[4]] = np.inf
    tensors["fields.amount"] = ("FP64", amount.astype(np.float64))
    types = list(tensors["event_type"][1])
    types[asked.offsets[6]] = b"\xff"
    tensors["event_type"] = ("BYTES", types)
    found = arrays_of(stub.ModelInfer(infer_request(tensors), timeout=WAIT_SECONDS))
    reason = b"fields.amount[0]: got inf, but it must be finite, or NaN where it is missing"
    assert found["error"][4] == reason
    assert found["error"][6].startswith(b"event_type[0]: got b'\\xff', but")
    others = [0, 1, 2, 3, 5, 7]
    assert [found["error"][row] for row in others] == [b""] * 6
    for name in OUTPUTS:
        assert np.isnan(found[name][[4, 6]]).all()
        np.testing.assert_allclose(found[name][others], good[name][others], rtol=1e-5, atol=1e-6)
    assert found["num_used"][[4, 6]].tolist() == [0, 0]
    assert found["is_eligible"][[4, 6]].tolist() == [False, False]


def test_nobody_and_only_bad_customers_are_answered(stub: GRPCInferenceServiceStub) -> None:
    """An empty batch has empty tensors of the right form; a batch of faults has NaN in all of them."""
    nobody = arrays_of(stub.ModelInfer(infer_request(tensors_of(histories(num_customers=0)), is_raw=False)))
    assert nobody["churn_probability"].shape == (0, 3)
    assert nobody["error"] == []
    tensors = tensors_of(histories(num_customers=3), as_of_us=np.array([1, 2, 3]))
    bad = arrays_of(stub.ModelInfer(infer_request(tensors), timeout=WAIT_SECONDS))
    assert np.isnan(bad["churn_probability"]).all()
    assert bad["churn_probability"].shape == (3, 3)
    assert all(text.startswith(b"as_of_us[") for text in bad["error"])


def test_live_ready_and_who_it_is(stub: GRPCInferenceServiceStub) -> None:
    """Ready for the model that is here, by name and version, and for no other."""
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="small")).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="small", version="1")).ready
    assert not stub.ModelReady(pb.ModelReadyRequest(name="small", version="2")).ready
    assert not stub.ModelReady(pb.ModelReadyRequest(name="large")).ready
    metadata = stub.ServerMetadata(pb.ServerMetadataRequest())
    assert (metadata.name, metadata.version) == ("holdfast", holdfast.__version__)


def test_health_and_reflection_know_the_service(channel: grpc.Channel) -> None:
    """Probes and tools that ask by name find it beside holdfast.v1."""
    request = health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService")
    assert health_pb2_grpc.HealthStub(channel).Check(request).status == health_pb2.HealthCheckResponse.SERVING
    asking = reflection_pb2_grpc.ServerReflectionStub(channel)
    listing = asking.ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=WAIT_SECONDS
    )
    (response,) = listing
    names = {service.name for service in response.list_services_response.service}
    assert {"inference.GRPCInferenceService", "holdfast.v1.ScoringService"} <= names


async def test_a_server_without_a_model_is_live_but_not_ready(artifact_folder: Path) -> None:
    """While the model is loaded nobody is told that it is there."""
    server = ScoringServer(Settings(artifact=artifact_folder, port=0))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
        assert not (await stub.ModelReady(pb.ModelReadyRequest(name="small"))).ready
        for call in (
            stub.ModelMetadata(pb.ModelMetadataRequest()),
            stub.ModelInfer(infer_request(tensors_of(histories()))),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await server.stop(1)


def refusal(stub: GRPCInferenceServiceStub, request: pb.ModelInferRequest) -> grpc.RpcError:
    """Return the status that a request gets."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=WAIT_SECONDS)
    return caught.value


def test_refusals_name_the_tensor_as_data_too(stub: GRPCInferenceServiceStub) -> None:
    """INVALID_ARGUMENT carries google.rpc.BadRequest; an unknown model is NOT_FOUND."""
    tensors = tensors_of(histories())
    tensors["event_offsets"] = ("INT64", [0, 5, 3])
    error = refusal(stub, infer_request(tensors))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    status, detail = rpc_status.from_call(error), error_details_pb2.BadRequest()
    assert status is not None
    assert status.details[0].Unpack(detail)
    assert detail.field_violations[0].field == "event_offsets[2]"
    request = infer_request(tensors_of(histories()))
    request.model_name = "large"
    assert refusal(stub, request).code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.outputs.add(name="churn"),
        lambda r: r.outputs.extend([r.InferRequestedOutputTensor(name="error")] * 2),
        lambda r: r.outputs.add(name="error").parameters["classification"].SetInParent(),
    ],
)
def test_outputs_that_are_not_there_are_refused(stub: GRPCInferenceServiceStub, change: Any) -> None:
    """An unknown name, the same one twice, and extensions of other servers."""
    request = infer_request(tensors_of(histories()))
    change(request)
    error = refusal(stub, request)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "outputs[" in error.details()


NAMES = st.sampled_from([*tensors_of(histories()), "amount", ""]) | st.text(max_size=8)
DATATYPES = st.sampled_from(["INT64", "FP32", "FP64", "BYTES", "BOOL", "INT8", "", "int64"])
CONTENTS = st.builds(
    pb.InferTensorContents,
    bool_contents=st.lists(st.booleans(), max_size=2),
    int64_contents=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 4), max_size=4),
    fp32_contents=st.lists(st.floats(width=32), max_size=3),
    bytes_contents=st.lists(st.binary(max_size=4), max_size=3),
)
TENSORS = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=NAMES,
    datatype=DATATYPES,
    shape=st.lists(st.integers(-1, 5) | st.integers(-(2**63), 2**63 - 1), max_size=2),
    contents=st.none() | CONTENTS,
)
WILD = st.builds(
    pb.ModelInferRequest,
    model_name=st.sampled_from(["small", ""]),
    inputs=st.lists(TENSORS, max_size=6),
    raw_input_contents=st.lists(st.binary(max_size=24), max_size=6),
    outputs=st.lists(
        st.builds(pb.ModelInferRequest.InferRequestedOutputTensor, name=st.sampled_from([*OUTPUTS, "x"])),
        max_size=2,
    ),
)


def answer_to(stub: GRPCInferenceServiceStub, request: pb.ModelInferRequest) -> pb.ModelInferResponse | None:
    """Return the answer; None where the request is refused as the caller's mistake."""
    try:
        return stub.ModelInfer(request, timeout=WAIT_SECONDS)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            return None
        raise


@given(request=WILD)
def test_no_request_whatsoever_makes_the_server_fail(
    stub: GRPCInferenceServiceStub, request: pb.ModelInferRequest
) -> None:
    """Any well-formed message is answered, or refused as the caller's mistake."""
    answer_to(stub, request)
    assert stub.ServerReady(pb.ServerReadyRequest()).ready


@given(data=st.data(), is_raw=st.booleans())
def test_a_sound_request_with_one_wild_tensor_is_answered_or_refused(
    stub: GRPCInferenceServiceStub, data: st.DataObject, is_raw: bool
) -> None:
    """Whatever one tensor holds, a customer has finite numbers or a reason, and the server goes on."""
    asked = histories(num_customers=4)
    tensors = tensors_of(asked)
    name = data.draw(st.sampled_from(sorted(tensors)))
    datatype, values = tensors[name]
    if datatype == "BYTES":
        wild: st.SearchStrategy[Any] = st.binary(max_size=5) | st.sampled_from(list(values) or [b""])
    elif datatype == "INT64":
        wild = st.integers(-(2**63), 2**63 - 1) | st.sampled_from(list(map(int, values)) or [0])
    else:
        wild = st.floats(width=32)
    size = st.just(len(values)) | st.integers(0, 3)
    tensors[name] = (datatype, data.draw(size.flatmap(lambda n: st.lists(wild, min_size=n, max_size=n))))
    response = answer_to(stub, infer_request(tensors, is_raw=is_raw))
    if response is not None:
        found = arrays_of(response)
        assert np.isnan(found["spend_expected"]).tolist() == [bool(text) for text in found["error"]]


def test_the_wild_ones_left_the_server_as_it_was(
    artifact_folder: Path, stub: GRPCInferenceServiceStub
) -> None:
    """After everything above, the numbers are still the predictor's."""
    asked = histories(seed=9)
    found = arrays_of(stub.ModelInfer(infer_request(tensors_of(asked)), timeout=WAIT_SECONDS))
    expected = Artifact.load(artifact_folder).predictor.predict(asked, np.full(8, AS_OF_US)).outputs
    for name in OUTPUTS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-6)
