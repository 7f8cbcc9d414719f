"""The page in a browser: a chat that streams and stops, the picture of the experts, and who
can use it: by keyboard, on a phone, in the dark, with a screen reader.

SL_SCREENSHOT=FILE.png also keeps a picture of it.
"""
import base64
import os
import re

import pytest

from browserpage import Browser, Keys
from serveclient import make_serve  # noqa: F401 (a fixture)

PHONE = {'width': 360, 'height': 740, 'deviceScaleFactor': 2, 'mobile': True}
VERSE = 'In the beginning God created the heaven and the earth.'
ENDLESS = 'holy, holy, holy'  # what the demo model says to it, at no temperature, does not end


@pytest.fixture(name='browser', scope='module')
def make_browser():
    browser = Browser()
    yield browser
    browser.quit()


@pytest.fixture(name='page')
def make_page(browser, serve):
    """Opens a server's page; at the end nothing must have gone elsewhere or wrong."""
    allowed = []

    def page(*args, may_say=()):
        browser.cdp('Emulation.clearDeviceMetricsOverride')
        browser.cdp('Emulation.setEmulatedMedia', features=[])
        browser.open(serve(*args))
        allowed.extend(may_say)
        return browser
    yield page
    browser.check_quiet(*allowed)
    browser.run('sessionStorage.clear()')
    browser.driver.get('about:blank')


def chunk(finish=None, **delta):
    return {'choices': [{'index': 0, 'delta': delta, 'finish_reason': finish}]}


def bodies(page):
    return [request['postData'] for request in page.new_requests() if 'postData' in request]


def test_a_reply_streams_and_stops(page):
    page = page('--ram', 'min', '--ctx', 2048)
    page.set(temperature='0')
    page.type(ENDLESS)
    lengths = set()
    page.until('the reply grows', lambda: lengths.add(len(page.text('#log'))) or len(lengths) > 4)
    assert page.is_busy() and not page.element('#send').is_displayed()
    page.until('the speed', lambda: re.search(r'[\d.]+ tokens/s · \d+ tokens', page.text('#speed')))
    assert page.element('#log').get_attribute('aria-busy') == 'true'
    page.element('#stop').click()
    page.until('the end', lambda: not page.is_busy())
    assert page.text('.message.assistant').endswith('Stopped.')
    assert page.element('#log').get_attribute('aria-busy') == 'false'
    page.server.until('the slot is free', lambda: page.server.busy() == 0)


def test_the_experts_are_shown(page):
    page = page('--ram', 'min')
    page.until('the grid', lambda: page.element('#grid').is_displayed())
    assert '4 layers of 16 experts, 4 for each token. 0 of 64' in page.text('#experts-text')
    empty = page.picture()
    page.set(max_tokens='60')
    page.ask(VERSE)
    page.until('experts in memory', lambda: re.search('[1-9]\\d* of 64 are in memory',
                                                      page.text('#experts-text')))
    page.until('another picture', lambda: page.picture() != empty)
    page.until('the lines', lambda: re.fullmatch(r'Hit rate\s[\d.]+ %|Hit rate\s–',
                                                 page.text('#hit-rate')))
    page.until('bytes', lambda: 'MB/s' in page.text('#bandwidth'))
    grid = page.element('#grid')
    page.run('arguments[0].focus()', grid)
    page.keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    page.until('the cell', lambda: re.match(r'Layer 3, expert 1: .*; chosen by \d+ % of recent',
                                            page.text('#cell')))


def test_resident_experts_are_shown(page):
    page = page()
    page.until('the grid', lambda: 'All are in memory' in page.text('#experts-text'))
    assert page.element('#grid').is_displayed() and not page.element('#lines').is_displayed()
    before = page.picture()
    page.set(max_tokens='20')
    page.ask(VERSE)
    page.until('recent use', lambda: page.picture() != before)


def test_nobody_asks_while_hidden(page):
    page = page('--ram', 'min')
    page.until('the first', lambda: page.element('#grid').is_displayed())

    def asked():
        return sum('/experts' in request['url'] for request in page.new_requests())

    def look(state):
        page.run("Object.defineProperty(document, 'visibilityState', {value: arguments[0], "
                 "configurable: true}); document.dispatchEvent(new Event('visibilitychange'))",
                 state)
    look('hidden')
    asked()
    page.set(max_tokens='30')
    page.ask(VERSE)  # would be shown several times
    page.run('return new Promise((done) => setTimeout(done, 2500))')
    assert asked() <= 1  # one may have been on its way
    look('visible')
    page.until('it is asked again', asked)


def test_turns_and_settings(page):
    page = page()
    page.set(max_tokens='8', temperature='0', system='Speak as a prophet.')
    first = page.ask(VERSE)
    page.ask('And then?')
    sent = [body for body in bodies(page) if 'And then?' in body][0]
    assert '"temperature":0' in sent and '"max_tokens":8' in sent and '"stream":true' in sent
    roles = re.findall('"role":"([a-z]+)"', sent)
    assert roles == ['system', 'user', 'assistant', 'user']
    assert 'Speak as a prophet.' in sent and VERSE in sent
    assert 'no room for more tokens' in first
    before = page.text('#log')
    page.driver.refresh()  # the tab keeps it
    page.until('the same', lambda: page.text('#log') == before)
    page.element('#new-chat').click()
    assert page.text('#log') == ''
    page.driver.refresh()
    page.until('the model', lambda: page.text('#model') == 'demo')
    assert page.text('#log') == ''
    assert page.run('return localStorage.length + document.cookie.length') == 0


def test_thoughts_and_calls(page):
    page = page()
    page.fake_reply(chunk(reasoning_content='First '), chunk(reasoning_content='a thought.'),
                    chunk(content='An <img src=/x onerror=alert(1)> answer'),
                    chunk(tool_calls=[{'index': 0, 'function': {'name': 'look', 'arguments': ''}}]),
                    chunk(tool_calls=[{'index': 0, 'function': {'arguments': '{"verse":'}}]),
                    chunk(tool_calls=[{'index': 0, 'function': {'arguments': '1}'}}]),
                    chunk('tool_calls'))
    page.ask('Think.')
    assert page.text('.message.assistant > .text') == 'An <img src=/x onerror=alert(1)> answer'
    assert page.text('.calls') == 'look({"verse":1})'
    assert not page.element('.thoughts .text').is_displayed()
    page.element('.thoughts summary').click()
    assert page.text('.thoughts .text') == 'First a thought.'


def test_errors_in_the_servers_words(page):
    page = page('--ctx', 256, may_say=['400'])
    page.type(VERSE * 40)
    page.until('the error', lambda: page.element('#problem').is_displayed())
    assert '256' in page.text('#problem p')
    page.fake_reply(chunk(content='Half an ans'), {'error': {'message': 'The disk is broken.'}})
    page.element('#problem button').click()
    page.until('another error', lambda: page.text('#problem p') == 'The disk is broken.')
    assert 'Half an ans' in page.text('.message.assistant')
    page.fake_reply(chunk(content='Whole.'))
    page.element('#problem button').click()
    page.until('the answer', lambda: 'Whole.' in page.text('#log'))
    assert not page.element('#problem').is_displayed() and 'Half' not in page.text('#log')


def test_a_key_is_asked_for(browser, serve):
    browser.visit(serve('--api-key', 'secret'))
    browser.until('the panel', lambda: browser.element('#settings').is_displayed())
    assert 'Invalid API Key' in browser.text('#settings-problem')
    assert browser.driver.switch_to.active_element.get_attribute('id') == 'api-key'
    browser.keys('secret', Keys.ENTER)
    browser.until('the model', lambda: browser.text('#model') == 'demo')
    browser.set(max_tokens='5')
    assert browser.ask(VERSE)
    browser.until('the experts', lambda: browser.element('#grid').is_displayed())
    browser.check_quiet('401')
    browser.run('sessionStorage.clear()')
    browser.driver.get('about:blank')


def test_by_keyboard_alone(page):
    page = page('--ctx', 2048)
    page.until('the grid', lambda: page.element('#grid').is_displayed())
    seen = []
    for _ in range(8):
        page.keys(Keys.TAB)
        seen.append(page.driver.switch_to.active_element.get_attribute('id'))
    assert seen[1:3] == ['new-chat', 'open-settings'] and 'prompt' in seen and 'send' in seen
    assert seen.index('prompt') < seen.index('send') and 'grid' in seen
    outline = page.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline != 'none'
    page.element('#prompt').send_keys('one', Keys.SHIFT + Keys.ENTER + Keys.NULL, 'two')
    assert page.element('#prompt').get_property('value') == 'one\ntwo'
    page.element('#prompt').clear()
    page.set(temperature='0')
    page.element('#prompt').send_keys(ENDLESS)
    page.keys(Keys.ENTER)
    page.until('the reply begins', lambda: page.elements('.message.assistant .text'))
    page.keys(Keys.ESCAPE)
    page.until('the end', lambda: not page.is_busy())
    assert page.driver.switch_to.active_element.get_attribute('id') == 'prompt'


def test_everything_has_a_name(page):
    page = page('--ram', 'min')
    page.until('the grid', lambda: page.element('#grid').is_displayed())
    roles = {'button', 'textbox', 'spinbutton', 'image', 'img', 'log', 'dialog', 'link'}

    def names():
        nodes = [node for node in page.cdp('Accessibility.getFullAXTree')['nodes']
                 if not node.get('ignored') and node['role']['value'] in roles]
        found = [node.get('name', {}).get('value') for node in nodes]
        assert all(found), nodes
        return found
    assert set(names()) >= {'New chat', 'Settings', 'Message', 'Send', 'Conversation'}
    page.element('#open-settings').click()
    assert set(names()) >= {'Settings', 'System prompt', 'Temperature', 'Done'}
    page.keys(Keys.ESCAPE)
    assert not page.element('#settings').is_displayed()
    assert page.run("return document.documentElement.lang") == 'en'


def luminance(colour):
    parts = [int(part) / 255 for part in re.findall(r'\d+', colour)[:3]]
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
             for part in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_light_and_dark(page, scheme):
    page = page()
    page.until('the grid', lambda: page.element('#grid').is_displayed())
    page.cdp('Emulation.setEmulatedMedia',
             features=[{'name': 'prefers-color-scheme', 'value': scheme}])
    page.set(max_tokens='8')
    page.ask(VERSE)

    def style(selector, name):
        return page.element(selector).value_of_css_property(name)
    back = style('body', 'background-color')
    assert (luminance(back) > 0.5) == (scheme == 'light')
    assert contrast(style('body', 'color'), back) >= 7
    assert contrast(style('#below', 'color'), back) >= 4.5
    assert contrast(style('#send', 'color'), style('#send', 'background-color')) >= 4.5
    user = '.message.user'
    assert contrast(style(user, 'color'), style(user, 'background-color')) >= 7
    assert contrast(style('.who', 'color'), style(user, 'background-color')) >= 4.5


def test_on_a_phone(page):
    page = page('--ram', 'min')
    page.cdp('Emulation.setDeviceMetricsOverride', **PHONE)
    page.driver.refresh()
    page.until('the model', lambda: page.text('#model') == 'demo')
    page.set(max_tokens='40')
    page.ask('In the beginning')
    assert not page.element('#grid').is_displayed()
    page.element('#experts summary').click()
    page.until('the grid', lambda: page.element('#grid').is_displayed())
    page.until('experts', lambda: 'of 64 are in memory' in page.text('#experts-text'))
    assert page.run('return document.documentElement.scrollWidth <= innerWidth')
    assert page.run('return document.documentElement.scrollHeight <= innerHeight')
    for selector in ('#prompt', '#send', '#new-chat', '#open-settings'):
        box = page.run('return arguments[0].getBoundingClientRect()', page.element(selector))
        assert box['left'] >= 0 and box['right'] <= PHONE['width'], (selector, box)
        assert box['top'] >= 0 and box['bottom'] <= PHONE['height'], (selector, box)
        assert box['height'] >= 44, (selector, box)
    size = page.element('#prompt').value_of_css_property('font-size')
    assert float(size[:-2]) >= 16  # or phones zoom in
    grid = page.run('return arguments[0].getBoundingClientRect()', page.element('#grid'))
    assert grid['width'] > 300 and grid['height'] > 20


@pytest.mark.skipif('SL_SCREENSHOT' not in os.environ, reason='SL_SCREENSHOT is not set')
def test_screenshot(page):
    page = page('--ram', 'min')
    page.set(max_tokens='90', temperature='0.3')
    page.ask(VERSE)
    page.ask('And what came to pass after these things?')
    page.element('#new-chat').click()
    page.set(max_tokens='600', temperature='0')
    page.type(ENDLESS)
    page.until('some text', lambda: len(page.text('.message.assistant')) > 420)
    image = page.cdp('Page.captureScreenshot', format='png')['data']
    with open(os.environ['SL_SCREENSHOT'], 'wb') as file:
        file.write(base64.b64decode(image))
    assert os.path.getsize(os.environ['SL_SCREENSHOT']) <= 200000
