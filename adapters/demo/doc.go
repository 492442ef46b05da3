// Package demo is a model that needs no model: an OpenAI-compatible HTTP server
// whose answers are computed from the request alone. A first start has something
// to answer with it, and tests have an upstream whose every token they know in
// advance, that misbehaves on command and that remembers what it served.
//
// It owns the answers, their token counts and a log of what went out. It does
// not own limits, prices or keys: those are the gateway's.
//
// # Endpoints
//
//	POST /v1/chat/completions   also without /v1, and under any prefix before /v1
//	GET  /v1/models, /v1/models/{id}
//	GET  /_demo/log             what was served, in the order of its end ([Served]);
//	                            ?idle waits until nothing is being answered
//	GET  /_demo/stats           counters ([Stats])
//	POST /_demo/behave          with [Config.Control] only: a [Behaviour] for all requests
//
// # Tokens
//
// A token is up to four bytes of one kind (letters and digits; white space;
// anything else), never splitting a character, together with the one space
// before it ([Tokens]). A prompt counts 3 for the answer's start and, for each
// message, 3 and the tokens of its texts, name and tool calls, 8 for a part
// that is not text; besides the tokens of the compacted tools and of
// response_format. No prompt counts more tokens than its request has bytes. A
// completion counts its content, or its tool's name and arguments; streamed, each
// token is one event. Streamed or not, the counts are the same.
//
// # Answers
//
// The answer quotes the last user message and adds a fixed text, another one for
// each choice and seed. When tools are given and the last user message says "call
// the tool", "use the tool" or a tool's name, or tool_choice demands it, the
// answer is a call with arguments made from the tool's schema. response_format
// makes it a small JSON document.
//
// # Instructions
//
// A request says how it wants to be treated in its member "demo", or in headers:
// cut_after is X-Demo-Cut-After, and the header wins. [Behaviour] lists what
// there is to say. An instruction that is unknown or past its cap ([Limits]) is
// refused with 400, so that a mistyped one can't pass for obeyed.
package demo
