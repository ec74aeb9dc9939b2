"""HTTP/1.1 as providers speak it: parser, connection, transport."""
