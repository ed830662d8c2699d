"""What schemathesis makes up from /openapi.json never meets a 500."""

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig

EXAMPLES = 8  # of each endpoint, so that all of them take some seconds
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def test_nothing_that_can_be_asked_is_a_500(server):
    schema = schemathesis.openapi.from_url(server.base + "/openapi.json", config=SchemathesisConfig())
    asked = set()
    for result in schema.get_all_operations():
        ask_all(result.ok(), asked)
    assert {("POST", "/v1/chat/completions"), ("POST", "/v1/responses"), ("POST", "/v1/completions")} <= asked
    assert len(asked) > 15


def ask_all(operation, asked):
    """Half of the requests name a model that is here; none asks for more than a few tokens."""

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy())
    def ask(case):
        if isinstance(case.body, dict) and operation.method == "post":
            if len(str(case.body)) % 2:
                case.body["model"] = "tiny"
            for limit in LIMITS:
                if limit in case.body:
                    case.body[limit] = 3
        case.validate_response(case.call(timeout=30), checks=[not_a_server_error])
        asked.add((operation.method.upper(), operation.path))

    ask()
