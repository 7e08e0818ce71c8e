"""A real SMTP server for tests: prints its port, then each mail that it took as a line of JSON.

smtp.py [--tls | --starttls] [--cert PATH --key PATH] [--user NAME --password TEXT]
"""

import argparse
import asyncio
import email
import email.policy
import json
import socket
import ssl

from aiosmtpd.smtp import SMTP, AuthResult

args = argparse.ArgumentParser()
args.add_argument("--tls", action="store_true")
args.add_argument("--starttls", action="store_true")
args.add_argument("--cert")
args.add_argument("--key")
args.add_argument("--user")
args.add_argument("--password")
args = args.parse_args()


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("later@"):
            return "451 4.7.1 greylisted, come back"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        took = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "hello": session.host_name,
            "tls": args.tls or session.ssl is not None,
            "authenticated": session.authenticated,
            "headers": {name.lower(): str(value) for name, value in mail.items()},
            "text": mail.get_content(),
        }
        print(json.dumps(took), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    good = (data.login.decode(), data.password.decode()) == (args.user, args.password)
    # Not handled: the server says 535 itself.
    return AuthResult(success=good, handled=good)


def make():
    starttls = context if args.starttls else None
    return SMTP(
        Handler(),
        hostname="mail.test",
        tls_context=starttls,
        require_starttls=args.starttls,
        authenticator=authenticate if args.user else None,
        auth_required=bool(args.user),
        # With TLS from the first byte the server's own check does not see it.
        auth_require_tls=args.starttls,
    )


async def main():
    listening = socket.create_server(("127.0.0.1", 0))
    server = await asyncio.get_running_loop().create_server(
        make, sock=listening, ssl=context if args.tls else None
    )
    print(listening.getsockname()[1], flush=True)
    await server.serve_forever()


context = None
if args.cert:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(args.cert, args.key)
asyncio.run(main())
