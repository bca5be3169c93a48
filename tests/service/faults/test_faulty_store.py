"""Extraction with a store that fails, cuts answers short or gives wrong lengths."""

from pathlib import Path

import pytest

from tests.service.faults.conftest import Undisturbed
from tests.service.faults.corpus import committed, extracted, planned, words
from tests.service.faults.faulty_proxy import FAULTS, faulty_proxy

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_fault_on_a_fifth_of_the_requests(
    undisturbed_s3: Undisturbed, s3_environment: str, tmp_path: Path, seed: int
) -> None:
    """Faults beyond the SDK's own retries end the step with code 75, and the workflow runs it again."""
    words_of_run = words(undisturbed_s3.videos, f"s3://frames/store-{seed}")
    planned(words_of_run)
    with faulty_proxy(s3_environment, share=0.2, seed=seed) as proxy:
        codes = [75]
        while codes[-1] == 75 and len(codes) < 8:
            codes.append(extracted(words_of_run, AWS_ENDPOINT_URL_S3=proxy.endpoint))
    print(f"exit codes {codes[1:]}, requests {dict(proxy.counts)}")

    assert codes[-1] == 0
    assert sum(proxy.counts[fault] for fault in FAULTS) >= 5
    assert committed(words_of_run, tmp_path) == undisturbed_s3.committed


def test_a_store_that_only_throttles(undisturbed_s3: Undisturbed, s3_environment: str, tmp_path: Path) -> None:
    """The step ends as unavailable, and once the store serves again, nothing is lost."""
    words_of_run = words(undisturbed_s3.videos, "s3://frames/store-throttled")
    planned(words_of_run)
    with faulty_proxy(s3_environment, share=1.0, seed=3, faults=("503",)) as proxy:
        code = extracted(words_of_run, AWS_ENDPOINT_URL_S3=proxy.endpoint)

    assert code == 75
    assert extracted(words_of_run) == 0
    assert committed(words_of_run, tmp_path) == undisturbed_s3.committed
