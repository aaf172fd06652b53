"""A mail server: prints its port, then each message it takes as a line of JSON.

Arguments: files with its certificate and key. It wants STARTTLS, then user `me` with password `hunter2`.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(
            json.dumps(
                {
                    "from": envelope.mail_from,
                    "to": envelope.rcpt_tos,
                    "user": session.auth_data,
                    "tls": session.ssl is not None,
                    "id": message["Message-Id"],
                    "subject": message["Subject"],
                    "defects": [str(defect) for defect in message.defects],
                    "parts": {part.get_content_type(): part.get_content().replace("\r\n", "\n") for part in message.iter_parts()},
                }
            ),
            flush=True,
        )
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    is_known = (data.login, data.password) == (b"me", b"hunter2")
    return AuthResult(success=is_known, auth_data=data.login.decode())


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:3])

    def protocol():
        return SMTP(
            Handler(),
            hostname="mail.example",
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            authenticator=authenticate,
        )

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
