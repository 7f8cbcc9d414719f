"""A headless Chromium that shows the page of a server, and what the tests ask of it.

Skips the file where Debian's chromium, chromium-driver or python3-selenium is missing.
"""
import json
import shutil
import time

import pytest

PATIENCE = 60  # seconds, for what must come soon
MISSING = [name for name in ('chromium', 'chromedriver') if not shutil.which(name)]

try:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except ImportError:
    MISSING.append('python3-selenium')
if MISSING:
    pytest.skip(f'missing: {", ".join(MISSING)} (./dev test --page installs them)',
                allow_module_level=True)

# The page talks to its server as ever; what the server would say to a chat is given here.
FAKE_REPLY = """
const events = arguments[0];
const real = window.fetch;
window.fetch = (path, options) => path !== '/v1/chat/completions' ? real(path, options)
  : Promise.resolve(new Response(new Blob(events.map((e) => `data: ${JSON.stringify(e)}\\n\\n`))));
"""


class Browser:
    def __init__(self):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which('chromium')
        for argument in ('--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run',
                         '--disable-dev-shm-usage', '--disable-background-networking',
                         '--window-size=1280,800', '--hide-scrollbars'):
            options.add_argument(argument)
        options.set_capability('goog:loggingPrefs', {'performance': 'ALL', 'browser': 'ALL'})
        self.driver = webdriver.Chrome(service=Service(shutil.which('chromedriver')),
                                       options=options)
        self.server = None
        self.requests = []  # of the network domain, since the page was opened

    def cdp(self, command, **parameters):
        return self.driver.execute_cdp_cmd(command, parameters)

    def visit(self, server):
        self.server = server
        self.driver.get_log('performance')
        self.driver.get_log('browser')
        self.requests = []
        self.driver.get(f'http://127.0.0.1:{server.port}/')

    def open(self, server):
        self.visit(server)
        self.until('the model', lambda: self.text('#model') == 'demo')

    def element(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def elements(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.element(selector).text

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, what, condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, what
            time.sleep(0.02)

    def keys(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    def type(self, text):
        self.element('#prompt').send_keys(text, Keys.ENTER)

    def is_busy(self):
        return self.element('#stop').is_displayed()

    def ask(self, text):
        """Send a message, wait for the whole reply; its text."""
        n = len(self.elements('.message.assistant'))
        self.type(text)
        self.until('a reply', lambda: len(self.elements('.message.assistant')) > n
                   and not self.is_busy())
        return self.elements('.message.assistant')[-1].text

    def set(self, **fields):
        self.element('#open-settings').click()
        for name, value in fields.items():
            field = self.element('#' + name.replace('_', '-'))
            field.clear()
            field.send_keys(value)
        self.element('#close-settings').click()

    def fake_reply(self, *events):
        self.run(FAKE_REPLY, list(events))

    def picture(self):
        return self.run("return document.getElementById('grid').toDataURL()")

    def new_requests(self):
        """Requests since the last look; they are kept for check_quiet, too."""
        events = [json.loads(entry['message'])['message']
                  for entry in self.driver.get_log('performance')]
        new = [event['params']['request'] for event in events
               if event['method'] == 'Network.requestWillBeSent']
        self.requests += new
        return new

    def check_quiet(self, *allowed):
        """Nothing was asked of another server, and the console holds nothing but what has
        one of the allowed words."""
        self.new_requests()
        home = f'http://127.0.0.1:{self.server.port}/'
        assert self.requests and all(request['url'].startswith((home, 'data:'))
                                     for request in self.requests), self.requests
        entries = self.driver.get_log('browser')
        assert all(any(word in entry['message'] for word in allowed) for entry in entries), entries

    def quit(self):
        self.driver.quit()
