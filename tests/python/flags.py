"""Asks for a flag as an application does, by the OpenFeature SDK, until it is as wished: URL FLAG WISHED."""

import sys
import time

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider

url, flag, wished = sys.argv[1:]
api.set_provider(OFREPProvider(base_url=url))
client = api.get_client()
end = time.monotonic() + 60
while True:
    details = client.get_boolean_details(flag, False)
    if str(details.value).lower() == wished:
        break
    assert time.monotonic() < end, f"{flag} is {details}"
    time.sleep(0.05)
print(details.variant, details.reason)
missing = client.get_boolean_details("no-such-flag", True)
assert missing.value is True and missing.error_code.value == "FLAG_NOT_FOUND", missing
