"""What mail systems write that have no machine-readable part: one sample for each, in its own words, with our names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Sample:
    """A report's header fields and text, and what is to be read in it."""

    name: str
    head: str
    text: str
    found: Sequence[tuple[str | None, int | None, str | None, str]]
    """for each recipient: address, three digits, status, and words that must be among those of the reason"""
    action: str = "failed"
    charset: str = "utf-8"


DAEMON: Final = "Return-Path: <>\nFrom: Mail Delivery System <MAILER-DAEMON@mx.example.net>\nSubject: Undelivered mail\n"
COPY: Final = "Return-Path: <shop@shop.example>\nMessage-ID: <4711@shop.example>\nFrom: shop@shop.example\nSubject: Mug\n\nHello\n"
JANE: Final = "jane@example.com"

SAMPLES: Final = (
    Sample(
        "exim, two recipients",
        "From: Mail Delivery System <Mailer-Daemon@mx.example.net>\nX-Failed-Recipients: jane@example.com, joe@example.org\n"
        "Auto-Submitted: auto-replied\nSubject: Mail delivery failed: returning message to sender\n",
        "This message was created automatically by mail delivery software.\n\n"
        "A message that you sent could not be delivered to one or more of its\nrecipients. This is a permanent error. "
        "The following address(es) failed:\n\n  jane@example.com\n    host mx.example.com [192.0.2.25]\n"
        "    SMTP error from remote mail server after RCPT TO:<jane@example.com>:\n    550-5.1.1 The email account that you tried\n"
        "    550 5.1.1 to reach does not exist\n  joe@example.org\n    Unrouteable address\n\n"
        f"------ This is a copy of the message, including all the headers. ------\n\n{COPY}",
        [(JANE, 550, "5.1.1", "account that you tried to reach does not exist"), ("joe@example.org", None, None, "Unrouteable")],
    ),
    Sample(
        "exim, a delay",
        "From: Mail Delivery System <Mailer-Daemon@mx.example.net>\nSubject: Warning: message 1abc-00 delayed 24 hours\n",
        "This message was created automatically by mail delivery software.\nA message that you sent has not yet been delivered "
        "to one or more of its\nrecipients after more than 24 hours on the queue on mx.example.net.\n\n"
        "The message identifier is:     1abc-00\n\nThe address to which the message has not yet been delivered is:\n\n"
        "  jane@example.com\n    Delay reason: SMTP error from remote mail server after RCPT TO:<jane@example.com>:\n"
        "    451 4.7.1 Greylisted\n\nNo action is required on your part. Delivery attempts will continue for\nsome time.\n",
        [(JANE, 451, "4.7.1", "Greylisted")],
        action="delayed",
    ),
    Sample(
        "exim, a mailbox that stays full",
        "X-Failed-Recipients: jane@example.com\nFrom: Mail Delivery System <Mailer-Daemon@mx.example.net>\nSubject: Mail delivery failed\n",
        "This message was created automatically by mail delivery software.\n\n  jane@example.com\n"
        "    mailbox is full: retry timeout exceeded\n\n------ This is a copy of the message, including all the headers. ------\n",
        [(JANE, None, None, "mailbox is full")],
    ),
    Sample(
        "qmail, two recipients",
        "Return-Path: <>\nFrom: MAILER-DAEMON@mx.example.net\nSubject: failure notice\n",
        "Hi. This is the qmail-send program at mx.example.net.\nI'm afraid I wasn't able to deliver your message to the following "
        "addresses.\nThis is a permanent error; I've given up. Sorry it didn't work out.\n\n<jane@example.com>:\n"
        "192.0.2.25 does not like recipient.\nRemote host said: 550 #5.1.1 unknown\nGiving up on 192.0.2.25.\n\n<joe@example.org>:\n"
        f"Sorry, I couldn't find any host named example.org. (#5.1.2)\n\n--- Below this line is a copy of the message.\n\n{COPY}",
        [(JANE, 550, "5.1.1", "unknown"), ("joe@example.org", None, "5.1.2", "couldn't find any host")],
    ),
    Sample(
        "courier",
        'Return-Path: <>\nFrom: "Courier mail server at mx.example.net" <@mx.example.net>\nSubject: NOTICE: mail delivery status.\n',
        "This is a delivery status notification from mx.example.net,\nrunning the Courier mail server, version 0.65.2.\n\n"
        "The original message was received on Thu, 1 Oct 2026 10:00:00 +0000\nfrom shop.example ([192.0.2.1])\n\n"
        "---------------------------------------------------------------------------\n\n"
        "                           UNDELIVERABLE MAIL\n\nYour message to the following recipients cannot be delivered:\n\n"
        "<jane@example.com>:\n    mx.example.com [192.0.2.25]:\n>>> RCPT TO:<jane@example.com>\n"
        "<<< 550 5.1.1 <jane@example.com>... User Unknown\n\n"
        "---------------------------------------------------------------------------\n\nIf your message was also sent to others ...\n",
        [(JANE, 550, "5.1.1", "User Unknown")],
    ),
    Sample(
        "postfix without its fields",
        "Return-Path: <>\nFrom: MAILER-DAEMON@mx.example.net (Mail Delivery System)\nSubject: Undelivered Mail Returned to Sender\n",
        "This is the mail system at host mx.example.net.\n\nI'm sorry to have to inform you that your message could not\n"
        "be delivered to one or more recipients. It's attached below.\n\nFor further assistance, please send mail to postmaster.\n\n"
        "                   The mail system\n\n<jane@example.com>: host mx.example.com[192.0.2.25] said: 550 5.2.1 The email\n"
        "    account that you tried to reach is disabled. (in reply to RCPT TO command)\n",
        [(JANE, 550, "5.2.1", "email account that you tried to reach is disabled")],
    ),
    Sample(
        "sendmail, two recipients",
        "Return-Path: <MAILER-DAEMON>\nFrom: Mail Delivery Subsystem <MAILER-DAEMON@mx.example.net>\nSubject: Returned mail: see transcript\n",
        "The original message was received at Thu, 1 Oct 2026 10:00:00 GMT\nfrom shop.example [192.0.2.1]\n\n"
        "   ----- The following addresses had permanent fatal errors -----\n<jane@example.com>\n<joe@example.org>\n\n"
        "   ----- Transcript of session follows -----\n... while talking to mx.example.com.:\n>>> RCPT To:<jane@example.com>\n"
        "<<< 550 5.1.1 <jane@example.com>... User unknown\n550 5.1.1 <jane@example.com>... User unknown\n"
        "... while talking to mx.example.org.:\n>>> RCPT To:<joe@example.org>\n<<< 552 5.2.2 <joe@example.org>... Mailbox full\n"
        "554 5.0.0 <joe@example.org>... Service unavailable\n\n   ----- Unsent message follows -----\n",
        [(JANE, 550, "5.1.1", "User unknown"), ("joe@example.org", 552, "5.2.2", "Mailbox full")],
    ),
    Sample(
        "sendmail with reasons in the list",
        "Return-Path: <MAILER-DAEMON>\nFrom: MAILER-DAEMON@mx.example.net\nSubject: Returned mail: User unknown\n",
        "   ----- The following addresses had permanent fatal errors -----\n<jane@example.com>\n"
        "    (reason: 550 RCPT TO:<jane@example.com> User unknown)\n    (expanded from: <all@example.com>)\n",
        [(JANE, 550, None, "User unknown")],
    ),
    Sample(
        "opensmtpd",
        "Return-Path: <>\nFrom: Mailer Daemon <MAILER-DAEMON@mx.example.net>\nSubject: Delivery status notification: error\n",
        "    Hi!\n\n    This is the MAILER-DAEMON, please DO NOT REPLY to this email.\n\n    An error has occurred while attempting "
        "to deliver a message for\n    the following list of recipients:\n\njane@example.com: 550 5.1.1 <jane@example.com>: unknown\n\n"
        "    Below is a copy of the original message:\n",
        [(JANE, 550, "5.1.1", "unknown")],
    ),
    Sample(
        "mdaemon",
        "Return-Path: <>\nFrom: MDaemon at mx.example.net <MAILER-DAEMON@mx.example.net>\nSubject: Permanent Delivery Failure\n",
        "The attached message had PERMANENT fatal delivery errors!\n\nAfter one or more unsuccessful delivery attempts the attached "
        "message has\nbeen removed from the mail queue on this server.\n\n--- Session Transcript ---\n"
        " Thu 2026-10-01 10:00:00: <-- 220 mx.example.com ESMTP\n Thu 2026-10-01 10:00:00: --> RCPT To:<jane@example.com>\n"
        " Thu 2026-10-01 10:00:01: <-- 550 5.1.1 No such user here\n--- End Transcript ---\n",
        [(JANE, 550, "5.1.1", "No such user here")],
    ),
    Sample(
        "exchange 5.5",
        "From: System Administrator <postmaster@mx.example.net>\nSubject: Undeliverable: Mug\n",
        "Your message\n\n  To:      jane@example.com\n  Subject: Mug\n  Sent:    Thu, 1 Oct 2026 10:00:00 +0000\n\n"
        "did not reach the following recipient(s):\n\njane@example.com on Thu, 1 Oct 2026 10:00:02 +0000\n"
        "    The recipient name is not recognized\n        The MTS-ID of the original message is: c=us;a= ;p=Example;l=MX0\n"
        "    MSEXCH:IMS:Example:MX:EX1 0 (000C05A6) Unknown Recipient\n",
        [(JANE, None, None, "recipient name is not recognized")],
    ),
    Sample(
        "exchange 2003",
        "From: postmaster@mx.example.net\nSubject: Undeliverable: Mug\n",
        "Your message\n\n      To:       jane@example.com\n      Subject:  Mug\n      Sent:     10/1/2026 10:00 AM\n\n"
        "did not reach the following recipient(s):\n\njane@example.com on 10/1/2026 10:00 AM\n"
        "            The e-mail account does not exist at the organization this message was sent to. Check the e-mail address.\n"
        "            <mx.example.net #5.1.1>\n",
        [(JANE, None, "5.1.1", "account does not exist")],
    ),
    Sample(
        "exchange 2007",
        "Return-Path: <>\nFrom: Microsoft Exchange <postmaster@example.com>\nSubject: Undeliverable: Mug\n",
        "Delivery has failed to these recipients or distribution lists:\n\njane@example.com<mailto:jane@example.com>\n"
        "The recipient's e-mail address was not found in the recipient's e-mail system.\n\nSent by Microsoft Exchange\n\n"
        "Diagnostic information for administrators:\n\nGenerating server: mx.example.com\n\njane@example.com\n"
        "#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##\n\nOriginal message headers:\n\n" + COPY,
        [(JANE, 550, "5.1.1", "RESOLVER.ADR.RecipNotFound")],
    ),
    Sample(
        "exchange, in German",
        "Return-Path: <>\nFrom: Microsoft Outlook <postmaster@example.com>\nSubject: Unzustellbar: Mug\n",
        "Fehler bei der Nachrichtenzustellung an folgende Empfänger oder Gruppen:\n\njane@example.com\n"
        "Die eingegebene E-Mail-Adresse konnte nicht gefunden werden.\n\nDiagnoseinformationen für Administratoren:\n\n"
        "Generierender Server: mx.example.com\n\njane@example.com\nRemote Server returned '550 5.1.10 "
        "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup'\n\n"
        "Ursprüngliche Nachrichtenkopfzeilen:\n\n" + COPY,
        [(JANE, 550, "5.1.10", "RecipientNotFound")],
    ),
    Sample(
        "domino",
        "Return-Path: <>\nFrom: Postmaster@mx.example.net\nSubject: DELIVERY FAILURE: User jane (jane@example.com) not listed\n",
        "Your message\n\n  Subject: Mug\n\nwas not delivered to:\n\n  jane@example.com\n\nbecause:\n\n"
        "  User jane (jane@example.com) not listed in Domino Directory\n",
        [(JANE, None, None, "not listed in Domino Directory")],
    ),
    Sample(
        "mailmarshal",
        "Return-Path: <>\nFrom: postmaster@mx.example.net\nSubject: Undeliverable Mail\n",
        "Your message:\n   From:    shop@shop.example\n   Subject: Mug\n\nCould not be delivered because of\n\n550 5.1.1 User unknown\n\n"
        "The following recipients were affected:\n   jane@example.com\n\nAdditional Information\n======================\n",
        [(JANE, 550, "5.1.1", "User unknown")],
    ),
    Sample(
        "imail",
        "From: Postmaster <postmaster@mx.example.net>\nSubject: Undeliverable Mail\nX-Mailer: <SMTP32 v8.0>\n",
        "User mailbox exceeds allowed size: jane@example.com\n\nOriginal message follows.\n\n" + COPY,
        [(JANE, None, None, "mailbox exceeds allowed size")],
    ),
    Sample(
        "gmail",
        "Return-Path: <>\nFrom: Mail Delivery Subsystem <mailer-daemon@googlemail.com>\nX-Failed-Recipients: jane@example.com\n"
        "Subject: Delivery Status Notification (Failure)\n",
        "Delivery to the following recipient failed permanently:\n\n     jane@example.com\n\nTechnical details of permanent failure:\n"
        "Google tried to deliver your message, but it was rejected by the server for the recipient domain example.com by "
        "mx.example.com. [192.0.2.25].\n\nThe error that the other server returned was:\n550 5.1.1 <jane@example.com>: Recipient "
        "address rejected\n\n\n----- Original message -----\n\n" + COPY,
        [(JANE, 550, "5.1.1", "Recipient address rejected")],
    ),
    Sample(
        "gmail, older",
        "Return-Path: <>\nFrom: Mail Delivery Subsystem <mailer-daemon@googlemail.com>\nSubject: Delivery Status Notification (Failure)\n",
        "Delivery to the following recipient failed permanently:\n\n     jane@example.com\n\nTechnical details of permanent failure: \n"
        "PERM_FAILURE: SMTP Error (state 14): 550 5.1.1 Unknown mailbox\n\n   ----- Original message -----\n\n" + COPY,
        [(JANE, 550, "5.1.1", "Unknown mailbox")],
    ),
    Sample(
        "yahoo",
        "Return-Path: <>\nFrom: MAILER-DAEMON@yahoo.com\nSubject: Failure Notice\n",
        "Sorry, we were unable to deliver your message to the following address.\n\n<jane@example.com>:\n"
        "550: 5.1.1 <jane@example.com>... User Unknown\n\n--- Below this line is a copy of the message.\n\n" + COPY,
        [(JANE, 550, "5.1.1", "User Unknown")],
    ),
    Sample(
        "symantec",
        "Return-Path: <>\nFrom: Postmaster@mx.example.net\nSubject: Delivery failure (jane@example.com)\n",
        "Your mail message to the following address(es) could not be delivered. This\nis a permanent failure. Please verify the "
        "addresses and try again.\n\n<jane@example.com>:\nSMTP; 550 5.7.1 Requested action not taken: message refused\n",
        [(JANE, 550, "5.7.1", "message refused")],
    ),
    Sample(
        "mail.ru",
        "From: mailer-daemon@corp.mail.ru\nX-Failed-Recipients: jane@example.com\nSubject: Mail failure.\n",
        "Это письмо создано автоматически сервером Mail.Ru, отвечать на него не нужно.\n\nК сожалению, Ваше письмо не может быть "
        "доставлено одному или нескольким получателям:\n\n  jane@example.com\n    SMTP error from remote mail server after "
        "RCPT TO:<jane@example.com>:\n    host mx.example.com [192.0.2.25]: 550 Message was not accepted -- invalid mailbox.\n\n"
        "**********************\n\nThis message was created automatically by mail delivery software.\n",
        [(JANE, 550, None, "invalid mailbox")],
    ),
    Sample(
        "web.de, in German",
        "Return-Path: <>\nFrom: WEB.DE Mailer Daemon <mailer-daemon@web.de>\nSubject: Mail delivery failed: returning message to sender\n",
        "Ihre Nachricht konnte nicht zugestellt werden.\n\njane@example.com\nDas Postfach existiert nicht.\n\n"
        "Originalnachricht:\n\n" + COPY,
        [(JANE, None, None, "Das Postfach existiert nicht")],
    ),
    Sample(
        "a French provider",
        "Return-Path: <>\nFrom: Postmaster <postmaster@mx.example.fr>\nSubject: Message non délivré\n",
        "Votre message n'a pas pu être remis au destinataire suivant :\n\n  jane@example.com\n\nRaison : boîte aux lettres inconnue\n",
        [(JANE, None, None, "boîte aux lettres inconnue")],
        charset="iso-8859-1",
    ),
    Sample(
        "a Spanish provider",
        "Return-Path: <>\nFrom: postmaster@mx.example.es\nSubject: Mensaje devuelto\n",
        "No se ha podido entregar su mensaje a:\n\njane@example.com\n550 5.1.1 Usuario desconocido\n",
        [(JANE, 550, "5.1.1", "Usuario desconocido")],
        charset="iso-8859-1",
    ),
    Sample(
        "qq",
        "Return-Path: <>\nFrom: PostMaster@qq.com\nSubject: =?utf-8?B?57O757uf6YCA5L+h?=\n",
        "抱歉，您的邮件被退回来了……\n\n原邮件信息：\n收件人：jane@example.com\n\n退信原因：\n收件人邮件地址（jane@example.com）不存在，"
        "邮件无法送达。\nhost mx.example.com[192.0.2.25] said: 550 Mailbox not found.\n",
        [(JANE, 550, None, "Mailbox not found")],
        charset="gb18030",
    ),
    Sample(
        "163",
        "Return-Path: <>\nFrom: Postmaster@163.com\nSubject: =?GBK?B?z7XNs83L0MU=?=\n",
        "抱歉，您的来信被退回来了，未能送达收信人 <jane@example.com>\n\n退信原因：用户不存在\n550 User not found: jane@example.com\n",
        [(JANE, 550, None, "User not found")],
        charset="gbk",
    ),
    Sample(
        "naver",
        "Return-Path: <>\nFrom: postmaster@naver.com\nSubject: =?utf-8?B?W+uwmOyGoeuQqF0=?=\n",
        "메일이 발송되지 못하고 반송되었습니다. 전달할 수 없습니다.\n\n받는 사람 : jane@example.com\n실패 사유 : 550 5.1.1 No such user\n",
        [(JANE, 550, "5.1.1", "No such user")],
        charset="euc-kr",
    ),
    Sample(
        "au, ezweb",
        "From: Postmaster@ezweb.ne.jp\nSubject: Mail System Error - Returned Mail\n",
        "次のあて先へのメッセージはエラーのため送信できませんでした。\n\nEach of the following recipients was rejected by a remote mail server.\n"
        "\n    Recipient: <jane@example.com>\n    >>> RCPT TO:<jane@example.com>\n    <<< 550 <jane@example.com>: User unknown\n",
        [(JANE, 550, None, "User unknown")],
        charset="iso-2022-jp",
    ),
    Sample(
        "au one net",
        "From: no-reply@app.auone-net.jp\nSubject: Mail delivery failed\n",
        "お送りいただいたメールは配信できませんでした。\n\nYour mail sent on: Thu, 1 Oct 2026 10:00:00 +0900\n"
        "     Could not be delivered to: <jane@example.com>\n     As their mailbox is full.\n",
        [(JANE, None, None, "mailbox is full")],
        charset="euc-jp",
    ),
    Sample(
        "biglobe",
        "Return-Path: <>\nFrom: postmaster@biglobe.ne.jp\nSubject: Returned mail: mailbox full\n",
        "   ----- The following addresses had delivery problems -----\njane@example.com\n\n   ----- Non-delivered information -----\n"
        "The number of messages in recipient's mailbox exceeded the local limit.\n",
        [(JANE, None, None, "exceeded the local limit")],
    ),
    Sample(
        "fml",
        "From: list-admin@example.org\nReturn-Path: <>\nSubject: mail not delivered\n",
        "Delivery to the following recipients failed\n\n   jane@example.com (user unknown)\n",
        [(JANE, None, None, "user unknown")],
    ),
    Sample(
        "text without any address",
        DAEMON,
        "Your message could not be delivered: the domain does not exist.\n",
        [(None, None, None, "domain does not exist")],
    ),
)
