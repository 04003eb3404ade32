"""Networks that write text about pictures: captions and answers, token by token, of transformers' families."""
